// Several models at once in worker threads, with piscina (npm install piscina). The thread that asks sees progress, can abort,
// and gets errors with their class.
//
//   node examples/worker-pool.mjs
//
// A job does its arithmetic in threads of its own wherever it is started from. Worker threads are for a main thread that must stay
// free of all else: reading the report, callbacks, what your own code does with the result.

import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MessageChannel } from 'node:worker_threads';
import { Piscina, isWorkerThread } from 'piscina';
import { errorFromJSON, isArrowQuantError, quantizeDiffusionModel } from '../dist/index.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const WORKERS = 2;

/** The worker's side. Only data crosses: an error thrown here would arrive as a plain Error. */
export default async function quantizeInWorker({ job, port }) {
  const controller = new AbortController();
  // The reason crosses as a text; `unref`: an open port must not keep the worker from ending.
  port.on('message', (reason) => controller.abort(new Error(reason)));
  port.unref();
  try {
    const report = await quantizeDiffusionModel({
      ...job,
      signal: controller.signal,
      onProgress: (event) => port.postMessage(event),
    });
    return { ok: true, report };
  } catch (error) {
    if (!isArrowQuantError(error)) throw error;
    return { ok: false, error: error.toJSON() };
  } finally {
    port.close();
  }
}

/**
 * Runs a job in the pool, as `quantizeDiffusionModel` would here: the same report, errors, progress and abort.
 * Piscina's own `signal` would end the thread at once; this one ends the job, which tidies up and says so.
 */
export async function quantizeInPool(pool, { signal, onProgress, ...job }) {
  const { port1, port2 } = new MessageChannel();
  const abort = () => port1.postMessage(String(signal.reason?.message ?? signal.reason));
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort, { once: true });
  port1.on('message', (event) => onProgress?.(event));
  try {
    const outcome = await pool.run({ job, port: port2 }, { transferList: [port2] });
    if (outcome.ok) return outcome.report;
    throw errorFromJSON(outcome.error);
  } finally {
    signal?.removeEventListener('abort', abort);
    port1.close();
  }
}

async function main() {
  const modelPath = join(here, 'digits-dit');
  const output = (name) => join(here, 'out', `worker-pool-${name}`);
  // Jobs that run side by side share the cores, or they get in each other's way.
  const numThreads = Math.max(1, Math.floor(availableParallelism() / WORKERS));
  const config = (bitWidth) => ({ bitWidth, numThreads, overwrite: true });
  const pool = new Piscina({ filename: fileURLToPath(import.meta.url), maxThreads: WORKERS });

  const stop = new AbortController();
  const jobs = {
    int8: { modelPath, outputPath: output('int8'), config: config(8) },
    int4: { modelPath, outputPath: output('int4'), config: config(4) },
    aborted: { modelPath, outputPath: output('aborted'), config: config(2), signal: stop.signal },
    missing: { modelPath: join(here, 'no-such-model'), outputPath: output('missing'), config: config(4) },
  };
  const seen = Object.fromEntries(Object.keys(jobs).map((name) => [name, 0]));
  const running = Object.entries(jobs).map(([name, job]) =>
    quantizeInPool(pool, {
      ...job,
      onProgress({ phase }) {
        seen[name] += 1;
        if (name === 'aborted' && phase !== 'config') stop.abort(new Error('no longer wanted'));
      },
    }),
  );

  const outcomes = await Promise.allSettled(running);
  await pool.close();
  for (const [index, { status, value, reason }] of outcomes.entries()) {
    const name = Object.keys(jobs)[index];
    const after = `after ${seen[name]} progress events`;
    if (status === 'fulfilled') {
      const { quantizedPath, compressionRatio, cosineSimilarity } = value;
      const figures = `${compressionRatio.toFixed(2)} times smaller, cosine ${cosineSimilarity.toFixed(4)}`;
      console.log(`${name}: ${relative(process.cwd(), quantizedPath)}, ${figures}, ${after}`);
    } else {
      console.log(`${name}: ${reason.name} ${reason.code} (${reason.cause?.message}), ${after}`);
    }
  }
  const expected = 'fulfilled fulfilled AQ_ABORTED AQ_MODEL_NOT_FOUND';
  const got = outcomes.map(({ status, reason }) => reason?.code ?? status).join(' ');
  if (got !== expected) throw new Error(`expected ${expected}, got ${got}`);
}

// The pool loads this very file in its workers. No `await` out here: Piscina tries require() first, which cannot wait.
if (!isWorkerThread && process.argv[1] === fileURLToPath(import.meta.url)) {
  main().catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
}
