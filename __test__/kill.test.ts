/** SIGKILL at random moments of a job: the output is absent, old, or complete, and the next run needs no help. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { validateQuality } from '../src-ts/index.js';
import { type Ended, program } from './helpers/child.js';
import { ditTensors, writeModel } from './helpers/models.js';
import { MOMENTS, moments, tell } from './helpers/moments.js';
import { expectNextRun, isNew, type Place, placeFor, undisturbed } from './helpers/output-states.js';
import { tempDir } from './helpers/temp.js';
import { listing } from './helpers/tree.js';

/** The addon is loaded before the job, so that all moments lie in the job. */
const JOB = `await aq.diagnose();
  console.log('start');
  await aq.quantizeDiffusionModel(data);
  console.log('end');`;

/** So much longer than to the commit, so that some moments come after it. */
const AFTERWARDS = 1.1;

/** Starts the job elsewhere and kills it `after` milliseconds. */
async function killed(job: object, after: number): Promise<Ended> {
  const running = program(JOB, job);
  await running.said('start');
  await sleep(after);
  running.child.kill('SIGKILL');
  return running.ended;
}

/** A model, the job on it, its files, and how long it takes until a little after the output has its name. */
async function bench() {
  // Large enough that most moments fall into the work.
  const modelPath = writeModel(tempDir(), ditTensors(16, 1024));
  const job = { modelPath, bitWidth: 4, minAccuracy: 0, numThreads: 1 } as const;
  const wanted = await undisturbed(job);
  // The least of a few times: what else the machine does makes it longer, and moments past the end of the job tell nothing.
  const times: number[] = [];
  for (let run = 0; run < 3; run += 1) {
    const { outputPath } = await placeFor(modelPath, false);
    const running = program(JOB, { ...job, outputPath });
    await running.said('start');
    const begun = performance.now();
    while (!existsSync(outputPath)) await sleep(1);
    times.push(performance.now() - begun);
    await running.ended;
  }
  return { modelPath, job, wanted, duration: AFTERWARDS * Math.min(...times) };
}

const LIMIT = { timeout: 60_000 + MOMENTS * 3000 };

/** Where jobs were when they were killed, and what became of them. */
class Tally {
  readonly #found = { beforeStaging: 0, staged: 0, finished: 0 };
  #resumed = 0;
  #identical = 0;

  /** After a kill; `isWhole` where the new output is there. */
  killed({ folder }: Place, isWhole: boolean): void {
    const isStaged = listing(folder).includes('.out.aq-partial');
    this.#found[isWhole ? 'finished' : isStaged ? 'staged' : 'beforeStaging'] += 1;
  }

  /** An output that was compared with the undisturbed one. */
  identical(isResumed: boolean): void {
    this.#identical += 1;
    if (isResumed) this.#resumed += 1;
  }

  /** All outputs were the undisturbed one; the moments are worth something only if some of them met the job at work. */
  expectAll(what: string): number {
    const { beforeStaging, staged, finished } = this.#found;
    const where = `${beforeStaging} before staging, ${staged} staged, ${finished} finished`;
    tell(`kill -9 ${what}: ${where}; ${this.#resumed} resumed; ${this.#identical} of ${MOMENTS} identical, 0 torn`);
    expect(this.#identical).toBe(MOMENTS);
    expect(staged).toBeGreaterThan(0);
    return this.#resumed;
  }
}

describe.each([false, true])('overwrite: %s', (overwrite) => {
  test(`${MOMENTS} moments`, LIMIT, async () => {
    const { modelPath, job, wanted, duration } = await bench();
    const tally = new Tally();
    for (const [index, moment] of moments(MOMENTS, overwrite ? 2 : 1).entries()) {
      const place = await placeFor(modelPath, overwrite);
      const context = `killed at ${moment.toFixed(3)} of ${duration.toFixed(0)} ms`;
      const { signal, stdout, stderr } = await killed(
        { ...job, outputPath: place.outputPath, overwrite },
        moment * duration,
      );
      const isWhole = isNew(place, wanted, context);
      tally.killed(place, isWhole);
      if (!isWhole)
        expect({ signal, stdout, stderr }, context).toEqual({ signal: 'SIGKILL', stdout: 'start\n', stderr: '' });
      await expectNextRun(place, wanted, job, context);
      tally.identical(false);
      if (index === 0) {
        const { passed } = await validateQuality(modelPath, place.outputPath, { minAccuracy: 0.9 });
        expect(passed).toBe(true);
      }
    }
    tally.expectAll(overwrite ? 'under a job that overwrites' : 'under a job');
  });
});

test(`${MOMENTS} moments, resumed`, LIMIT, async () => {
  const { modelPath, job, wanted, duration } = await bench();
  const tally = new Tally();
  for (const moment of moments(MOMENTS, 3)) {
    const place = await placeFor(modelPath, false);
    const context = `killed at ${moment.toFixed(3)} of ${duration.toFixed(0)} ms`;
    await killed({ ...job, outputPath: place.outputPath, resume: true }, moment * duration);
    const isWhole = isNew(place, wanted, context);
    tally.killed(place, isWhole);
    const result = isWhole ? undefined : await expectNextRun(place, wanted, { ...job, resume: true }, context);
    tally.identical(result?.warnings.some(({ code }) => code === 'AQ_WARN_RESUMED') ?? false);
  }
  expect(tally.expectAll('under a job that may be resumed')).toBeGreaterThan(0);
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
