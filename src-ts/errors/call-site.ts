/**
 * The stack of whoever called a public function. An error made after an await, or in Rust, has no frame of the caller;
 * so the frames are taken at entry and put on the error later.
 */
import type { CallInfo } from './create.js';

/**
 * Starts the record of one public call.
 *
 * @param operation - name of the public function
 * @param entry - the public function itself; frames from it inwards are left out
 */
export function beginCall(operation: string, entry: Entry): CallInfo {
  return { operation, startedAt: performance.now(), callSite: captureCallSite(entry) };
}

type Entry = ((...args: never[]) => unknown) | (new (...args: never[]) => unknown);

function captureCallSite(entry: Entry): string | undefined {
  const holder: { stack?: unknown } = {};
  Error.captureStackTrace(holder, entry);
  // A user's Error.prepareStackTrace may return anything.
  if (typeof holder.stack !== 'string') return undefined;
  const frames = holder.stack.indexOf('\n    at ');
  return frames === -1 ? '' : holder.stack.slice(frames + 1);
}
