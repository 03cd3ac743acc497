// A service that quantizes, with fastify (npm install fastify): jobs wait in a queue, progress is streamed as server-sent events,
// errors are problems (RFC 9457). `node examples/service.mjs` tries it and exits; with a port it goes on serving:
//
//   node examples/service.mjs 8080
//   curl -i localhost:8080/jobs --json '{"model": "digits-dit", "config": {"bitWidth": 4}}'
//   curl -N localhost:8080/jobs/1/events
//   curl localhost:8080/jobs/1            curl localhost:8080/jobs/1/result            curl -X DELETE localhost:8080/jobs/1

import { join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import Fastify from 'fastify';
import { DiffusionQuantConfig } from '../dist/index.js';
import { JobQueue } from './service/jobs.mjs';
import { aboutProblem, problemOf, sendProblem } from './service/problem.mjs';
import { tryService } from './service/try.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
/** Clients name models: they never hand in paths. The second one shows what a client sees of a model that has gone. */
const MODELS = { 'digits-dit': join(here, 'digits-dit'), gone: join(here, 'no-such-model') };
const MAX_WAITING = 100;

// Only options without paths, and none that says what the server may use. Their values are checked by the library.
const OPTIONS = [
  'bitWidth',
  'groupSize',
  'minAccuracy',
  'method',
  'symmetric',
  'layout',
  'failFast',
  'targetModelSizeMb',
];
const BODY = {
  type: 'object',
  required: ['model'],
  additionalProperties: false,
  properties: {
    model: { enum: Object.keys(MODELS) },
    config: {
      type: 'object',
      additionalProperties: false,
      properties: Object.fromEntries(OPTIONS.map((name) => [name, {}])),
    },
  },
};

const httpError = (statusCode, message) => Object.assign(new Error(message), { statusCode });

function createService() {
  // The library says itself what is wrong with "4": nothing may be converted or dropped before.
  const app = Fastify({ ajv: { customOptions: { coerceTypes: false, removeAdditional: false } } });
  const queue = new JobQueue();

  const found = ({ params: { id } }) => {
    const job = queue.get(id);
    if (job === undefined) throw httpError(404, `there is no job ${id}`);
    return job;
  };
  const described = ({ id, model, state, progress, report, error }) => ({
    id,
    model,
    state,
    progress: progress && {
      phase: progress.phase,
      fraction: progress.fraction,
      layer: progress.layer,
      etaMs: progress.etaMs,
    },
    result: report && {
      compressionRatio: report.compressionRatio,
      cosineSimilarity: report.cosineSimilarity,
      warnings: report.warnings,
    },
    problem: error && problemOf(error),
  });

  app.post('/jobs', { schema: { body: BODY } }, async ({ body: { model, config = {} } }, reply) => {
    // Wrong options are the answer to this request, not the end of a job.
    new DiffusionQuantConfig(config);
    if (queue.waiting >= MAX_WAITING) throw httpError(503, `${MAX_WAITING} jobs are waiting already`);
    const job = queue.add(model, (id) => ({
      modelPath: MODELS[model],
      outputPath: join(here, 'out', `service-${id}`),
      config: { ...config, overwrite: true },
    }));
    return reply.code(202).header('location', `/jobs/${job.id}`).send(described(job));
  });

  app.get('/jobs/:id', async (request) => described(found(request)));

  app.get('/jobs/:id/result', async (request, reply) => {
    const { id, state, report, error } = found(request);
    if (error) return sendProblem(reply, error);
    if (report === null) throw httpError(409, `job ${id} is ${state}`);
    return report;
  });

  app.get('/jobs/:id/events', async (request, reply) => {
    const events = Readable.from(found(request).events(described));
    const headers = {
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no', // nginx would collect events otherwise
      connection: 'close', // kept open after the last event it would hold up the end of the service
    };
    return reply.headers(headers).send(events);
  });

  app.delete('/jobs/:id', async (request, reply) => {
    const job = found(request);
    void job.abort('the client asked for it');
    return reply.code(202).send(described(job));
  });

  app.get('/problems/:code', async ({ params: { code } }) => {
    const about = aboutProblem(code);
    if (about === undefined) throw httpError(404, `there is no code ${code}`);
    return about;
  });

  app.setErrorHandler((error, _request, reply) => sendProblem(reply, error));
  app.setNotFoundHandler((request, reply) =>
    sendProblem(reply, httpError(404, `no ${request.method} ${request.url} here`)),
  );
  // Before the server closes, so that who listens to a job is told how it ended.
  app.addHook('preClose', () => queue.close());
  return app;
}

const app = createService();
const port = process.argv[2];
const address = await app.listen({ host: '127.0.0.1', port: Number(port ?? 0) });
if (port === undefined) {
  await tryService(app, address);
} else {
  console.log(`${address}/jobs takes ${Object.keys(MODELS).join(', ')}`);
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close());
}
