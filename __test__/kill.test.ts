/** SIGKILL at random moments of a job: the output is absent, old, or complete, and the next run needs no help. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { validateQuality } from '../src-ts/index.js';
import { type Ended, program } from './helpers/child.js';
import { ditTensors, writeModel } from './helpers/models.js';
import { MOMENTS, moments } from './helpers/moments.js';
import { expectNextRun, isNew, placeFor, undisturbed } from './helpers/output-states.js';
import { tempDir } from './helpers/temp.js';
import { listing } from './helpers/tree.js';

/** The addon is loaded before the job, so that all moments lie in the job. */
const JOB = `await aq.diagnose();
  console.log('start');
  await aq.quantizeDiffusionModel(data);
  console.log('end');`;

/** Starts the job elsewhere and kills it `after` milliseconds. */
async function killed(job: object, after: number): Promise<Ended> {
  const running = program(JOB, job);
  await running.said('start');
  await sleep(after);
  running.child.kill('SIGKILL');
  return running.ended;
}

/** A model, the job on it, its files, and how long it takes in a process of its own. */
async function bench() {
  // Large enough that the job, and not the end of its process, takes most of the time.
  const modelPath = writeModel(tempDir(), ditTensors(16, 1024));
  const job = { modelPath, bitWidth: 4, minAccuracy: 0, numThreads: 1 } as const;
  const wanted = await undisturbed(job);
  const whole = await placeFor(modelPath, false);
  const { afterOutput } = await program(JOB, { ...job, outputPath: whole.outputPath }).ended;
  return { modelPath, job, wanted, duration: afterOutput };
}

const LIMIT = { timeout: 60_000 + MOMENTS * 3000 };

describe.each([false, true])('overwrite: %s', (overwrite) => {
  test(`${MOMENTS} moments`, LIMIT, async () => {
    const { modelPath, job, wanted, duration } = await bench();
    const found = { staged: 0, new: 0 };
    for (const [index, moment] of moments(MOMENTS, overwrite ? 2 : 1).entries()) {
      const place = await placeFor(modelPath, overwrite);
      const context = `killed at ${moment.toFixed(3)} of ${duration.toFixed(0)} ms`;
      const { signal, stdout } = await killed({ ...job, outputPath: place.outputPath, overwrite }, moment * duration);
      if (listing(place.folder).includes('.out.aq-partial')) found.staged += 1;
      if (isNew(place, wanted, context)) found.new += 1;
      else expect({ signal, ended: stdout.includes('end') }, context).toEqual({ signal: 'SIGKILL', ended: false });
      await expectNextRun(place, wanted, job, context);
      if (index === 0) {
        const { passed } = await validateQuality(modelPath, place.outputPath, { minAccuracy: 0.9 });
        expect(passed).toBe(true);
      }
    }
    // The moments are worth something only if some of them met the job at work.
    expect(found.staged).toBeGreaterThan(0);
  });
});

test(`${MOMENTS} moments, resumed`, LIMIT, async () => {
  const { modelPath, job, wanted, duration } = await bench();
  let resumed = 0;
  for (const moment of moments(MOMENTS, 3)) {
    const place = await placeFor(modelPath, false);
    const context = `killed at ${moment.toFixed(3)} of ${duration.toFixed(0)} ms`;
    await killed({ ...job, outputPath: place.outputPath, resume: true }, moment * duration);
    if (isNew(place, wanted, context)) continue;
    const { warnings } = await expectNextRun(place, wanted, { ...job, resume: true }, context);
    if (warnings.some(({ code }) => code === 'AQ_WARN_RESUMED')) resumed += 1;
  }
  expect(resumed).toBeGreaterThan(0);
});

test('killed again and again, resumed until it is done', LIMIT, async () => {
  const { modelPath, job, wanted, duration } = await bench();
  const place = await placeFor(modelPath, false);
  // Each moment is before the time that the whole job takes, so at least the first finds it at work.
  const early = moments(6, 4).map((moment) => (0.1 + moment / 3) * duration);
  for (const after of early) {
    await killed({ ...job, outputPath: place.outputPath, resume: true }, after);
    if (isNew(place, wanted)) return;
  }
  await expectNextRun(place, wanted, { ...job, resume: true });
});

test.each([
  ['nothing', ''],
  ['a part', '{"format":"arrow-quant-jou'],
])('killed when the journal held %s of its first line: there is nothing to go on with', async (_, text) => {
  const modelPath = writeModel(tempDir(), ditTensors(2, 64));
  const job = { modelPath, minAccuracy: 0 } as const;
  const wanted = await undisturbed(job);
  const place = await placeFor(modelPath, false);
  const staging = path.join(place.folder, '.out.aq-partial');
  mkdirSync(path.join(staging, 'content'), { recursive: true });
  writeFileSync(path.join(staging, 'lock'), '');
  writeFileSync(path.join(staging, 'journal.jsonl'), text);
  await expectNextRun(place, wanted, { ...job, resume: true });
});
