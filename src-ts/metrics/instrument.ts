/** The counters as observables of an OpenTelemetry meter. Nothing is imported: the application passes its own meter. */
import { IssueList } from '../config/issues.js';
import { Place } from '../config/place.js';
import { beginCall } from '../errors/call-site.js';
import { type ErrorMetrics, errorMetrics } from './error-metrics.js';

type Labels = Record<string, string | number>;

/** Takes the values of one observable when the meter collects. */
export interface ObservableResultLike {
  observe(value: number, attributes?: Labels): void;
}

export interface ObservableLike {
  addCallback(callback: (result: ObservableResultLike) => void): void;
}

/** The part of OpenTelemetry's `Meter` that is used; a `Meter` fits. */
export interface MeterLike {
  createObservableCounter(
    name: string,
    options?: { readonly description?: string; readonly unit?: string },
  ): ObservableLike;
  createObservableGauge?(
    name: string,
    options?: { readonly description?: string; readonly unit?: string },
  ): ObservableLike;
}

const BREAKER_STATES = ['closed', 'half-open', 'open', 'latched'];

interface Observable {
  readonly name: string;
  /** Goes up and down; a counter otherwise. */
  readonly gauge?: boolean;
  readonly description: string;
  readonly unit?: string;
  readonly values: (metrics: ErrorMetrics) => readonly (readonly [value: number, labels: Labels])[];
}

// Observable histograms do not exist, so the histogram is three counters, as Prometheus has it.
const OBSERVABLES: readonly Observable[] = [
  {
    name: 'jobs',
    description: 'Jobs by outcome',
    values: ({ jobs }) => Object.entries(jobs).map(([outcome, count]) => [count, { outcome }]),
  },
  {
    name: 'errors',
    description: 'Errors by code and phase',
    values: ({ errors }) => errors.map(({ count, ...labels }) => [count, labels]),
  },
  {
    name: 'retries',
    description: 'Repeated file operations, by operation and errno',
    values: ({ retries }) => retries.map(({ count, ...labels }) => [count, labels]),
  },
  {
    name: 'degradations',
    description: 'Steps down in memory or device',
    values: ({ degradations }) => degradations.map(({ count, ...labels }) => [count, labels]),
  },
  {
    name: 'breaker',
    description: 'Circuit breakers of devices: 0 closed, 1 half-open, 2 open, 3 latched',
    gauge: true,
    values: ({ breakers }) => breakers.map(({ device, state }) => [BREAKER_STATES.indexOf(state), { device }]),
  },
  {
    name: 'fallbacks',
    description: 'Layers stored wider than planned, by width',
    values: ({ fallbacks }) => fallbacks.map(({ count, ...labels }) => [count, labels]),
  },
  {
    name: 'callback_errors',
    description: 'Failures of progress callbacks',
    values: ({ callbackErrors }) => [[callbackErrors, {}]],
  },
  {
    name: 'time_to_failure.bucket',
    description: 'Failures that took at most le milliseconds, by code',
    values: ({ timeToFailureMs }) =>
      timeToFailureMs.flatMap(({ code, buckets }) =>
        buckets.map(({ le, count }) => [count, { code, le: `${le}` }] as const),
      ),
  },
  {
    name: 'time_to_failure.count',
    description: 'Failures by code',
    values: ({ timeToFailureMs }) => timeToFailureMs.map(({ code, count }) => [count, { code }]),
  },
  {
    name: 'time_to_failure.sum',
    description: 'Time from call to failure, summed by code',
    unit: 'ms',
    values: ({ timeToFailureMs }) => timeToFailureMs.map(({ code, sum }) => [sum, { code }]),
  },
];

const instrumented = new WeakSet<object>();

/**
 * Registers the counters as `arrow_quant.*` observables. They are read when the meter collects; a second call with the
 * same meter does nothing.
 *
 * @param meter - an OpenTelemetry `Meter`, such as `metrics.getMeter('my-app')`
 * @throws ConfigurationError where it is none
 */
export function instrument(meter: MeterLike): void {
  if (!isMeter(meter)) {
    const issues = new IssueList();
    const place = new Place(issues, 'meter', 'option', "Pass what metrics.getMeter('name') of OpenTelemetry gives.");
    place.refuse('an OpenTelemetry Meter', meter);
    throw issues.toError(beginCall('instrument', instrument));
  }
  if (instrumented.has(meter)) return;
  instrumented.add(meter);
  for (const { name, gauge, description, unit, values } of OBSERVABLES) {
    const options = unit === undefined ? { description } : { description, unit };
    const observable =
      gauge === true
        ? meter.createObservableGauge?.(`arrow_quant.${name}`, options)
        : meter.createObservableCounter(`arrow_quant.${name}`, options);
    observable?.addCallback((result) => {
      for (const [value, labels] of values(errorMetrics())) result.observe(value, labels);
    });
  }
}

function isMeter(value: unknown): value is MeterLike {
  if (typeof value !== 'object' || value === null) return false;
  try {
    return typeof (value as Partial<MeterLike>).createObservableCounter === 'function';
  } catch {
    return false;
  }
}
