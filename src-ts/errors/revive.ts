/** Errors that crossed a thread or process, made whole again. */

import { IssueList } from '../config/issues.js';
import { Place } from '../config/place.js';
import { ERROR_CATALOG } from '../generated/error-catalog.js';
import { beginCall } from './call-site.js';
import type { ArrowQuantError, ArrowQuantErrorOptions } from './classes.js';
import { instantiate } from './create.js';
import type { ErrorCode, ErrorContext, SerializedCause, SerializedError } from './details.js';
import { reviveCause } from './throw-native.js';

const UNKNOWN_CONTEXT: ErrorContext = {
  operation: 'unknown',
  phase: 'config',
  jobId: null,
  timestamp: new Date(0).toISOString(),
  elapsedMs: 0,
  modelPath: null,
  outputPath: null,
  file: null,
  offset: null,
  layer: null,
  device: null,
  attempt: 1,
};

/**
 * Revives an error from what `toJSON()` gave, from its JSON text, or from the plain `Error` that a worker's 'error'
 * event delivers (Node keeps the own properties there but not the class).
 *
 * A code this version does not know gives the base class.
 *
 * @param json - the object or the JSON text
 * @throws ConfigurationError where it describes no error of this package
 */
export function errorFromJSON(json: unknown): ArrowQuantError {
  const source = typeof json === 'string' ? parse(json) : json;
  if (typeof source !== 'object' || source === null) throw notAnError(json);
  const from = source as { readonly [K in keyof SerializedError]?: unknown } & { cause?: unknown; report?: unknown };
  if (typeof from.code !== 'string' || typeof from.message !== 'string') throw notAnError(json);

  const row = Object.hasOwn(ERROR_CATALOG, from.code) ? ERROR_CATALOG[from.code as ErrorCode] : undefined;
  if (row === undefined && !from.code.startsWith('AQ_')) throw notAnError(json);
  const hint = text(from.hint) ?? row?.hint ?? '';
  const init = {
    v: 1,
    name: row?.className ?? 'ArrowQuantError',
    code: from.code as ErrorCode,
    title: text(from.title) ?? row?.title ?? 'Error',
    message: from.message,
    hint,
    suggestions: Array.isArray(from.suggestions) ? from.suggestions.map(String) : [hint],
    category: text(from.category) ?? row?.category ?? 'internal',
    severity: text(from.severity) ?? row?.severity ?? 'high',
    kind: text(from.kind) ?? row?.kind ?? 'system',
    retryable: typeof from.retryable === 'boolean' ? from.retryable : (row?.retryable ?? false),
    retryAfterMs: typeof from.retryAfterMs === 'number' ? from.retryAfterMs : null,
    details: record(from.details) ?? {},
    context: record(from.context) ?? UNKNOWN_CONTEXT,
    causes: [],
  } as unknown as SerializedError;

  const options: { -readonly [K in keyof ArrowQuantErrorOptions]: ArrowQuantErrorOptions[K] } = {};
  const cause = Array.isArray(from.causes) ? chain(from.causes, init.details) : from.cause;
  if (cause !== undefined) options.cause = cause;
  const report = record(from.report);
  if (report !== undefined) options.report = report;
  return instantiate(init, options);
}

function chain(causes: readonly unknown[], details: unknown): Error | undefined {
  let inner: Error | undefined;
  for (const cause of causes.slice(0, 8).reverse()) inner = reviveCause(cause as SerializedCause, inner, details);
  return inner;
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw notAnError(json, cause);
  }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function record(value: unknown): object | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
}

function notAnError(value: unknown, cause?: unknown): Error {
  const issues = new IssueList();
  const place = new Place(issues, 'json', 'option', 'Send error.toJSON() and revive that.');
  place.refuse('what toJSON() of an arrow-quant error gives', value, cause === undefined ? {} : { cause });
  return issues.toError(beginCall('errorFromJSON', errorFromJSON));
}
