/**
 * From the caller's signal to `cancel()` of a job. The signal stays in JavaScript: the addon's own support for it
 * would replace the caller's `onabort` and lose the reason.
 */
import type { AbortError } from './errors/classes.js';
import { type CallInfo, createError } from './errors/create.js';

/** The error of a call whose signal was aborted before there was a job. Nothing was touched. */
function abortedBeforeStart(signal: AbortSignal, call: CallInfo): AbortError {
  return createError(
    'AQ_ABORTED',
    {
      sentence: 'Aborted in phase config.',
      actions: ['Nothing was left behind; call again to start over.'],
      details: { phase: 'config', staged: 'nothing', abandoned: false },
    },
    call,
    { cause: signal.reason },
  ) as AbortError;
}

/** @throws AbortError where the signal is aborted already */
export function throwIfAborted(signal: AbortSignal | undefined, call: CallInfo): void {
  if (signal?.aborted) throw abortedBeforeStart(signal, call);
}

/** Runs work that can be cancelled; the listener is gone when it settles. */
export async function withAbort<T>(
  signal: AbortSignal | undefined,
  cancel: () => void,
  work: () => Promise<T>,
): Promise<T> {
  if (signal === undefined) return work();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    // An abort between the last check and addEventListener fires no event.
    if (signal.aborted) cancel();
    return await work();
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}
