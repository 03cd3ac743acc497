/** Counts the failures of public calls, each once, however many layers it passes on its way out. */
import type { BitWidth } from '../config/options.js';
import { isArrowQuantError } from '../errors/classes.js';
import { type CallInfo, className } from '../errors/create.js';
import type { Phase } from '../errors/details.js';
import { counters, Histogram } from './counters.js';

const MAX_LAST = 16;
const PHASES: readonly string[] = [
  'config',
  'open',
  'plan',
  'calibrate',
  'quantize',
  'validate',
  'commit',
] satisfies Phase[];
const seen = new WeakSet<object>();

/** Runs the work of a public call and counts what it rejects with. */
export async function recorded<T>(call: CallInfo, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    recordFailure(error, call.startedAt);
    throw error;
  }
}

/** Counts what the addon tells while a job runs. */
export function countNotice(event: string, payload: object): void {
  const { op, errno, what, from, to, device } = payload as Readonly<Record<string, string>>;
  if (event === 'retry') counters.retries.add({ op: `${op}`, errno: `${errno}` });
  else if (event === 'degrade') counters.degradations.add({ what: `${what}` });
  else if (event === 'fallback') counters.fallbacks.add({ from: Number(from) as BitWidth, to: Number(to) as BitWidth });
  else if (event === 'breaker') counters.breakers.set(`${device}`, `${to}`);
}

/**
 * Counts an error of this package.
 *
 * @param startedAt - when the call began, by `performance.now()`
 */
export function recordFailure(error: unknown, startedAt: number): void {
  if (!isArrowQuantError(error) || seen.has(error) || className(error.code) === undefined) return;
  seen.add(error);
  const { code, context, details } = error;
  const phase = PHASES.includes(context.phase) ? context.phase : 'unknown';
  counters.errors.add({ code, phase });
  if ('abandoned' in details && details.abandoned) counters.abandoned += 1;
  let histogram = counters.timeToFailureMs.get(code);
  if (histogram === undefined) {
    histogram = new Histogram();
    counters.timeToFailureMs.set(code, histogram);
  }
  histogram.add(Math.max(0, performance.now() - startedAt));
  counters.lastErrors.push({ code, phase, timestamp: new Date().toISOString() });
  if (counters.lastErrors.length > MAX_LAST) counters.lastErrors.shift();
}
