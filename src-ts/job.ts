/** One native job from request to result: load, run, cancel, progress, outcome. */
import { randomBytes } from 'node:crypto';
import { throwIfAborted, withAbort } from './abort.js';
import { ArrowQuantError } from './errors/classes.js';
import type { CallInfo } from './errors/create.js';
import { internalError, unwrapOutcome } from './errors/throw-native.js';
import { guardExit } from './exit-guard.js';
import { JobRecord } from './job-record.js';
import { loadNative } from './native.js';
import { type CallbackErrors, type ProgressCallback, ProgressGuard } from './progress.js';
import type { ReportWarning } from './results.js';

export interface JobHooks {
  readonly onProgress?: ProgressCallback | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Eight hexadecimal digits, to tell the jobs of a process apart. */
export function newJobId(): string {
  return randomBytes(4).toString('hex');
}

/**
 * Runs a job.
 *
 * @param request - what the addon is asked to do; paths are absolute
 * @returns the value of the outcome, with the callback's failures added where there was a callback
 * @throws the typed error of the outcome
 */
export async function runJob(request: object, call: CallInfo, hooks: JobHooks): Promise<object> {
  const record = new JobRecord(call);
  let value: object;
  try {
    value = await runGuarded(request, call, hooks, record);
  } catch (error) {
    record.failed(error);
    throw error;
  }
  record.succeeded(value);
  return value;
}

/** Asks the addon for something that is part of another call: it is neither counted nor told of. */
export async function ask(request: object, call: CallInfo): Promise<unknown> {
  const native = await loadNative(call);
  const create = () => new native.NativeJob(JSON.stringify(request));
  const json = await guardExit(native, () => runNative(create, () => undefined, call, undefined));
  return unwrapOutcome(json, call, undefined, () => undefined);
}

async function runGuarded(request: object, call: CallInfo, hooks: JobHooks, record: JobRecord): Promise<object> {
  const { onProgress, signal } = hooks;
  const guard = new ProgressGuard(onProgress, call.startedAt, (failure, late) => record.callbackFailed(failure, late));
  const native = await loadNative(call);
  throwIfAborted(signal, call);

  let value: unknown;
  try {
    const receive = (event: string) => {
      if (!record.receive(event)) guard.receive(event);
    };
    const create = () => new native.NativeJob(JSON.stringify(request));
    const json = await guardExit(native, () => runNative(create, receive, call, signal));
    value = unwrapOutcome(json, call, signal, (notices) => record.rest(notices));
    if (typeof value !== 'object' || value === null) throw internalError('the addon answered without a result', call);
  } catch (error) {
    await guard.finish(false);
    addToReport(error, guard.errors);
    throw error;
  }
  await guard.finish(true);
  return onProgress === undefined ? value : withCallbackErrors(value, guard.errors);
}

async function runNative(
  create: () => { run(onProgress: (event: string) => void): Promise<string>; cancel(): void },
  receive: (event: string) => void,
  call: CallInfo,
  signal: AbortSignal | undefined,
): Promise<string> {
  try {
    const job = create();
    return await withAbort(
      signal,
      () => job.cancel(),
      () => job.run(receive),
    );
  } catch (cause) {
    // Outcomes are data; an exception from the addon means that the facade or the addon is wrong.
    throw internalError('the addon threw instead of answering', call, { cause });
  }
}

function withCallbackErrors(value: object, callbackErrors: CallbackErrors): object {
  if (callbackErrors.count === 0) return { ...value, callbackErrors };
  const { warnings } = value as { readonly warnings?: unknown };
  const warning: ReportWarning = {
    code: 'AQ_WARN_CALLBACK',
    message: `onProgress failed ${callbackErrors.count} time(s); the job went on.`,
    details: callbackErrors,
  };
  return { ...value, warnings: [...(Array.isArray(warnings) ? warnings : []), warning], callbackErrors };
}

function addToReport(error: unknown, callbackErrors: CallbackErrors): void {
  if (!(error instanceof ArrowQuantError) || callbackErrors.count === 0) return;
  Object.defineProperty(error, 'report', { value: { ...error.report, callbackErrors }, configurable: true });
}
