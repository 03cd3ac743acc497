/** The process is killed at a chosen write, sync or rename of a small job, or just before its commit. */
import { describe, expect, test } from 'vitest';
import { quantizeDiffusionModel } from '../../src-ts/index.js';
import { runProgram } from '../helpers/child.js';
import { faultCounts, setFaults } from '../helpers/fault.js';
import { ditTensors, writeModel } from '../helpers/models.js';
import { expectNextRun, isNew, type Place, placeFor, undisturbed } from '../helpers/output-states.js';
import { tempDir } from '../helpers/temp.js';

const SITES = ['write', 'fsync', 'rename', 'commit'] as const;
type Site = (typeof SITES)[number];
/** Every third passage will do where each costs a process; all of them in the long form. */
const STEP = process.env.AQ_TEST_LONG === '1' ? 1 : 3;

/** A gate that 2 bits miss, so that the shard is put together anew and renamed. One thread: the same order each time. */
const OPTIONS = { bitWidth: 2, minAccuracy: 0.97, numThreads: 1, device: 'cpu' } as const;

/** A job, its files undisturbed, and how often it passes each site. */
async function bench(overwrite: boolean, resume = false) {
  const job = { ...OPTIONS, modelPath: writeModel(tempDir(), ditTensors(2, 64)) };
  const wanted = await undisturbed(job);
  const { outputPath } = await placeFor(job.modelPath, overwrite);
  setFaults('');
  await quantizeDiffusionModel({ ...job, outputPath, overwrite, resume });
  return { job, wanted, counts: faultCounts() };
}

/** The passages of a site to be tried; the first and the last are always among them. */
function passages(counts: Readonly<Record<string, number>>, site: Site): number[] {
  const all = Array.from({ length: counts[site] ?? 0 }, (_, index) => index + 1);
  return all.filter((k) => (k - 1) % STEP === 0 || k === all.length);
}

/** Runs the job in a process that is killed at the k-th passage of a site. */
async function killedAt(site: Site, k: number, place: Place, job: object): Promise<void> {
  const plan = `kill@${site}:${k}`;
  const script = 'await aq.quantizeDiffusionModel(data);';
  const ended = await runProgram(script, { ...job, outputPath: place.outputPath }, { env: { AQ_FAULT_PLAN: plan } });
  expect(ended, plan).toMatchObject({ code: null, signal: 'SIGKILL', stderr: '' });
}

describe.each([false, true])('overwrite: %s', (overwrite) => {
  test.each(SITES)('%s', { timeout: 180_000 }, async (site) => {
    const { job, wanted, counts } = await bench(overwrite);
    expect(counts[site]).toBeGreaterThan(0);
    for (const k of passages(counts, site)) {
      const place = await placeFor(job.modelPath, overwrite);
      const context = `kill@${site}:${k}`;
      await killedAt(site, k, place, { ...job, overwrite });
      // The last sync is of the parent, after the output has its name.
      expect(isNew(place, wanted, context), context).toBe(site === 'fsync' && k === counts.fsync);
      await expectNextRun(place, wanted, job, context);
    }
  });
});

test.each(SITES)('%s, resumed', { timeout: 180_000 }, async (site) => {
  const { job, wanted, counts } = await bench(false, true);
  let resumed = 0;
  for (const k of passages(counts, site)) {
    const place = await placeFor(job.modelPath, false);
    const context = `kill@${site}:${k}`;
    await killedAt(site, k, place, { ...job, resume: true });
    if (isNew(place, wanted, context)) continue;
    const { warnings } = await expectNextRun(place, wanted, { ...job, resume: true }, context);
    if (warnings.some(({ code }) => code === 'AQ_WARN_RESUMED')) resumed += 1;
  }
  expect(resumed).toBeGreaterThan(0);
});
