/** Every file operation of a small job fails once, in each of the ways that matter; and what then must hold. */
import path from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { type ErrorCode, QuantizationError, quantizeDiffusionModel } from '../../src-ts/index.js';
import { faultCounts, openBelow, outcomeOf, setFaults, stateOf } from '../helpers/fault.js';
import { ditTensors, writeModel } from '../helpers/models.js';
import { tempDir } from '../helpers/temp.js';

// The page comes after the job, and it is the job's operations that are counted here.
vi.mock('../../src-ts/with-report.js', () => ({ withReport: async (result: object) => result }));

const SITES = ['read', 'write', 'fsync', 'rename'] as const;
const ERRNOS = ['EIO', 'ENOSPC', 'EACCES', 'EINTR', 'ETIMEDOUT'] as const;
type Site = (typeof SITES)[number];

/** The row of the specification: the code, and whether the same call may succeed later; undefined for a healed run. */
function expected(errno: (typeof ERRNOS)[number], site: Site): { code: ErrorCode; retryable: boolean } | undefined {
  if (errno === 'EINTR') return undefined;
  if (errno === 'ETIMEDOUT') return site === 'fsync' ? { code: 'AQ_IO', retryable: true } : undefined;
  if (errno === 'ENOSPC' && site !== 'read') return { code: 'AQ_OUT_OF_DISK', retryable: false };
  return { code: 'AQ_IO', retryable: false };
}

/** A model, a job on it that always passes its sites in the same order, and the files it makes undisturbed. */
async function bench(overwrite: boolean) {
  const folder = tempDir();
  // A gate that 2 bits miss: a layer is raised, so the shard is put together anew and renamed.
  const modelPath = writeModel(folder, ditTensors(2, 64));
  const outputPath = path.join(folder, 'out', 'quantized');
  const common = { modelPath, bitWidth: 2, minAccuracy: 0.97, numThreads: 1, device: 'cpu' } as const;
  const reference = path.join(tempDir(), 'reference');
  await quantizeDiffusionModel({ ...common, outputPath: reference });
  if (overwrite) await quantizeDiffusionModel({ ...common, outputPath, bitWidth: 8, minAccuracy: 0 });
  const job = () => quantizeDiffusionModel({ ...common, outputPath, overwrite });
  setFaults('');
  return { folder, modelPath, outputPath, job, wanted: stateOf(reference).files, before: stateOf(folder) };
}

describe.each([false, true])('overwrite: %s', (overwrite) => {
  test.each(SITES)(
    '%s',
    async (site) => {
      const counted = await bench(overwrite);
      await counted.job();
      const passes = faultCounts()[site] ?? 0;
      expect(passes).toBeGreaterThan(overwrite && site === 'rename' ? 2 : 1);
      let healed = 0;
      for (const errno of ERRNOS) {
        for (let n = 1; n <= passes; n += 1) {
          const { folder, modelPath, outputPath, job, wanted, before } = await bench(overwrite);
          const source = stateOf(modelPath);
          setFaults(`${errno}@${site}:${n}`);
          const { value, error } = await outcomeOf(job);
          setFaults('');
          const context = `${errno}@${site}:${n}`;
          const row = expected(errno, site);
          if (row === undefined) {
            expect(error, context).toBeUndefined();
            const retries = errno === 'EINTR' ? [] : [expect.objectContaining({ errno, attempt: 1 })];
            expect(value?.retries, context).toEqual(retries);
            expect(value?.warnings.some(({ code }) => code === 'AQ_WARN_RETRIED')).toBe(errno !== 'EINTR');
            healed += 1;
          } else {
            expect(error, context).toBeInstanceOf(QuantizationError);
            expect({ code: error?.code, retryable: error?.retryable }, context).toEqual(row);
            const details = error?.details as { errno: string; path: string; attempts?: number };
            expect(details, context).toMatchObject({ errno, ...(row.code === 'AQ_IO' ? { attempts: 1 } : {}) });
            expect(error?.message, context).toContain(errno);
            expect(error?.cause, context).toMatchObject({ code: errno });
          }
          expect(stateOf(modelPath), context).toEqual(source);
          const after = stateOf(folder);
          // The last sync comes after the rename: the output is complete, only perhaps not durable.
          const complete = error === undefined || (site === 'fsync' && n === passes);
          if (complete) {
            expect(stateOf(outputPath).files, context).toEqual(wanted);
            expect(
              after.names.filter((name) => name.includes('aq-partial')),
              context,
            ).toEqual([]);
          } else {
            expect(after, context).toEqual(before);
          }
          expect(openBelow(folder) ?? [], context).toEqual([]);
        }
      }
      expect(healed).toBe(passes * (site === 'fsync' ? 1 : 2));
    },
    240_000,
  );
});
