// A service that quantizes: start a job, ask how far it is, abort it. `node examples/service.mjs` tries all three and exits;
// `node examples/service.mjs 8080` goes on serving. Clients name models from a list: they never hand in paths.

import { createServer } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isArrowQuantError, quantizeDiffusionModel } from '../dist/index.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const MODELS = { 'digits-dit': join(here, 'digits-dit') };
const jobs = new Map();

function start(model) {
  const id = String(jobs.size + 1);
  const controller = new AbortController();
  const job = { id, model, state: 'running', fraction: 0, layer: null, etaMs: null };
  jobs.set(id, { job, controller });
  quantizeDiffusionModel({
    modelPath: MODELS[model],
    outputPath: join(here, 'out', `service-${id}`),
    config: { bitWidth: 4, overwrite: true, numThreads: 1 },
    signal: controller.signal,
    onProgress({ fraction, layer, etaMs }) {
      Object.assign(job, { fraction, layer, etaMs });
    },
  }).then(
    ({ compressionRatio, cosineSimilarity, warnings }) =>
      Object.assign(job, { state: 'done', compressionRatio, cosineSimilarity, warnings }),
    (error) =>
      isArrowQuantError(error, 'AQ_ABORTED')
        ? Object.assign(job, { state: 'aborted' })
        : // toJSON() of an error has code, message, hint and details, and no stack.
          Object.assign(job, { state: 'failed', error }),
  );
  return job;
}

function answer(method, path) {
  const [, kind, name] = path.split('/');
  if (method === 'POST' && kind === 'models' && Object.hasOwn(MODELS, name)) return [202, start(name)];
  const entry = kind === 'jobs' ? jobs.get(name) : undefined;
  if (entry === undefined) return [404, { message: `POST /models/${Object.keys(MODELS)}, GET or DELETE /jobs/ID` }];
  if (method === 'DELETE') entry.controller.abort(new Error('the client asked for it'));
  return [200, entry.job];
}

const server = createServer((request, response) => {
  const [status, body] = answer(request.method, request.url);
  response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
});

server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', async () => {
  const base = `http://127.0.0.1:${server.address().port}`;
  if (process.argv[2] !== undefined) return console.log(`curl -X POST ${base}/models/digits-dit`);

  const ask = async (method, path) => (await fetch(base + path, { method })).json();
  const settled = async ({ id }) => {
    for (;;) {
      const { state, fraction, layer } = await ask('GET', `/jobs/${id}`);
      console.log(`job ${id}: ${state}, ${Math.round(fraction * 100)} %${layer === null ? '' : `, ${layer}`}`);
      if (state !== 'running') return;
      await new Promise((done) => setTimeout(done, 50));
    }
  };
  await settled(await ask('POST', '/models/digits-dit'));
  const second = await ask('POST', '/models/digits-dit');
  await ask('DELETE', `/jobs/${second.id}`);
  await settled(second);
  server.closeAllConnections();
  server.close();
});
