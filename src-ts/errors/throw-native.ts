/** From the outcome of a native call to a value or a thrown error. Nothing in here trusts the shape it is given. */
import { constants } from 'node:os';
import type { ArrowQuantError, ArrowQuantErrorOptions } from './classes.js';
import { type CallInfo, className, createError, instantiate } from './create.js';
import type { ErrorCode, SerializedCause, SerializedError } from './details.js';
import { displayName } from './text.js';

/**
 * Reads the JSON of a native outcome.
 *
 * @param onNotices - given what happened on the way, before a failure is thrown
 * @returns the value of a successful outcome
 * @throws the typed error of a failed one; `AQ_INTERNAL` for anything malformed
 */
export function unwrapOutcome(
  json: unknown,
  call: CallInfo,
  signal?: AbortSignal,
  onNotices?: (notices: readonly unknown[]) => void,
): unknown {
  const outcome = parseOutcome(json);
  if (Array.isArray(outcome?.notices)) onNotices?.(outcome.notices);
  if (outcome?.ok === true && 'value' in outcome) return outcome.value;
  if (outcome?.ok === false && isRecord(outcome.error)) throwNative(outcome.error, call, signal);
  throw internalError('the addon answered with a malformed outcome', call);
}

/** Throws the error that the data of a native failure describe. */
function throwNative(error: object, call: CallInfo, signal?: AbortSignal): never {
  if (!isSerialized(error)) throw internalError('the addon answered with a malformed error', call);
  const expected = className(error.code);
  if (expected === undefined) {
    throw internalError(`the addon answered with the unknown code ${displayName(error.code)}`, call);
  }
  if (expected !== error.name) {
    throw internalError(`the addon gave ${error.code} the class ${displayName(error.name)}`, call);
  }
  const options: Writable<ArrowQuantErrorOptions> = {};
  const cause = error.code === 'AQ_ABORTED' && signal?.aborted ? signal.reason : chain(error);
  if (cause !== undefined) options.cause = cause;
  if (isRecord(error.report)) options.report = error.report;
  if (call.callSite !== undefined) options.callSite = call.callSite;
  throw instantiate(error, options);
}

/** A defect of this package, with what gave it away as cause. */
export function internalError(message: string, call: CallInfo, options?: ErrorOptions): ArrowQuantError<'AQ_INTERNAL'> {
  return createError(
    'AQ_INTERNAL',
    {
      sentence: `Internal error: ${message} (at the JavaScript facade).`,
      actions: ['This is a defect, not your input; report it with the output of `arrow-quant doctor --json`.'],
      details: { location: null, panic: false },
    },
    call,
    options,
  );
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };
type NativeError = SerializedError<ErrorCode> & { readonly report?: unknown };

function parseOutcome(
  json: unknown,
): { ok?: unknown; value?: unknown; error?: unknown; notices?: unknown } | undefined {
  if (typeof json !== 'string') return undefined;
  try {
    const parsed: unknown = JSON.parse(json);
    return isRecord(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function isSerialized(error: object): error is NativeError {
  const { code, name, message, title, hint, suggestions, details, context } = error as Record<string, unknown>;
  return (
    [code, name, message, title, hint].every((text) => typeof text === 'string') &&
    Array.isArray(suggestions) &&
    isRecord(details) &&
    isRecord(context)
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The chain of causes as errors, innermost made first. */
function chain(error: NativeError): Error | undefined {
  let inner: Error | undefined;
  const causes = Array.isArray(error.causes) ? error.causes : [];
  for (const cause of causes.slice(0, 8).reverse()) inner = reviveCause(cause, inner, error.details);
  return inner;
}

/** An error from its recorded name, message and code; errno codes get the properties Node gives its own. */
export function reviveCause(cause: SerializedCause, inner: Error | undefined, details: unknown): Error {
  const error = new Error(String(cause?.message ?? ''), inner === undefined ? undefined : { cause: inner });
  if (typeof cause?.name === 'string' && cause.name !== 'Error') {
    Object.defineProperty(error, 'name', { value: cause.name, configurable: true, writable: true });
  }
  const code = cause?.code;
  if (typeof code !== 'string') return error;
  const own: Record<string, unknown> = { code };
  const errno = (constants.errno as Readonly<Record<string, number>>)[code];
  if (errno !== undefined) {
    own.errno = -errno;
    const { op, path } = isRecord(details) ? details : {};
    if (typeof op === 'string') own.syscall = op;
    if (typeof path === 'string') own.path = path;
  }
  return Object.assign(error, own);
}
