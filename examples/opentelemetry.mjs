// Counters, events and logs of jobs, with the OpenTelemetry SDK (npm install @opentelemetry/api @opentelemetry/sdk-metrics).
// Four jobs: one that succeeds, one whose quality does not suffice, one without a model, one that is aborted.
//
//   node examples/opentelemetry.mjs                                              counters and events on stdout
//   ARROW_QUANT_LOG=debug node examples/opentelemetry.mjs                        and on stderr what the addon logs
//   ARROW_QUANT_LOG=info ARROW_QUANT_LOG_FORMAT=json node examples/opentelemetry.mjs       the same as lines of JSON

import { subscribe } from 'node:diagnostics_channel';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { metrics } from '@opentelemetry/api';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { errorMetrics, instrument, quantizeDiffusionModel, quantizeMany } from '../dist/index.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const output = (name) => join(here, 'out', `opentelemetry-${name}`);

// 1. Counters. In a service: the exporter of your collector, such as OTLP, in the place of the one in memory.
const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 60_000 });
const provider = new MeterProvider({ readers: [reader] });
metrics.setGlobalMeterProvider(provider);
instrument(metrics.getMeter('my-application'));

// 2. Events. Payloads are made only where somebody listens. `retry`, `degrade` and `breaker` come from disks, memory and devices that
// fail for a moment: not here, if all goes well.
const EVENTS = {
  'job.start': ({ operation, modelPath }) => `${operation} ${modelPath}`,
  'job.end': ({ elapsedMs }) => `after ${Math.round(elapsedMs)} ms`,
  'job.error': ({ error, elapsedMs }) => `${error.code} after ${Math.round(elapsedMs)} ms`,
  retry: ({ op, errno, attempt, delayMs }) => `${op} failed with ${errno} (attempt ${attempt}), again in ${delayMs} ms`,
  degrade: ({ what, from, to, reason }) => `${what} from ${from} to ${to}: ${reason}`,
  breaker: ({ device, from, to }) => `${device} from ${from} to ${to}`,
  fallback: ({ layer, from, to, similarity }) =>
    `${layer} from ${from} to ${to} bits, ${similarity?.toFixed(4)} was too low`,
  warning: ({ code }) => code,
  'callback-error': ({ name, message }) => `onProgress threw ${name}: ${message}`,
};
for (const [name, told] of Object.entries(EVENTS))
  subscribe(`arrow-quant:${name}`, (event) =>
    console.log(`event ${name} (${event.jobId ?? 'no job'}): ${told(event)}`),
  );

// Node warns of a callback that throws, on stderr; here it throws on purpose.
process.removeAllListeners('warning');

// 3. Jobs. `logLevel` is another way to the log, for the whole process from this call on; a variable that is set wins here.
const logLevel = process.env.ARROW_QUANT_LOG === undefined ? 'warn' : undefined;
const modelPath = join(here, 'digits-dit');
await quantizeDiffusionModel({
  modelPath,
  outputPath: output('int2'),
  config: { bitWidth: 2, minAccuracy: 0.945, overwrite: true, logLevel },
  onProgress({ final }) {
    if (final) throw new Error('a callback that fails is counted, and breaks nothing');
  },
});
const failing = await quantizeMany([
  { modelPath, outputPath: output('fail-fast'), config: { bitWidth: 2, minAccuracy: 0.9999, failFast: true } },
  { modelPath: join(here, 'no-such-model'), outputPath: output('no-such-model') },
]);
const controller = new AbortController();
const aborted = await quantizeDiffusionModel({
  modelPath,
  outputPath: output('aborted'),
  signal: controller.signal,
  onProgress: ({ phase }) => phase !== 'config' && controller.abort(new Error('no longer wanted')),
}).catch((error) => error);

// 4. What was counted, as the collector gets it.
await provider.forceFlush();
console.log('\nmetrics:');
for (const { scopeMetrics } of exporter.getMetrics())
  for (const { descriptor, dataPoints } of scopeMetrics.flatMap((scope) => scope.metrics))
    for (const { attributes, value } of dataPoints) {
      // Buckets are there for dashboards, not to be read.
      if (value === 0 || descriptor.name.endsWith('.bucket')) continue;
      const labels = Object.entries(attributes).map(([label, of]) => `${label}=${of}`);
      console.log(`  ${descriptor.name}{${labels}} ${Math.round(value)}${descriptor.unit && ` ${descriptor.unit}`}`);
    }
await provider.shutdown();

const { jobs } = errorMetrics(); // the same numbers without OpenTelemetry
const codes = [...failing.map(({ error }) => error?.code), aborted.code].join(' ');
if (codes !== 'AQ_VALIDATION_FAILED AQ_MODEL_NOT_FOUND AQ_ABORTED') throw new Error(`the jobs ended with ${codes}`);
if (`${jobs.succeeded} ${jobs.failed} ${jobs.aborted}` !== '1 2 1') throw new Error(`counted: ${JSON.stringify(jobs)}`);
