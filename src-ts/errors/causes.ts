/** Chains of causes, as data. A cause may be any value (signal.reason is the user's), so every read is guarded. */
import type { SerializedCause } from './details.js';

const MAX_CAUSES = 8;
const MAX_MESSAGE = 1_000;

/** The causes of an error, outermost first, at most 8; a cycle ends the list. */
export function flattenCauses(error: Error): SerializedCause[] {
  const causes: SerializedCause[] = [];
  const seen = new Set<unknown>([error]);
  let cause = causeOf(error);
  while (cause !== undefined && causes.length < MAX_CAUSES && !seen.has(cause)) {
    seen.add(cause);
    causes.push(describeCause(cause));
    cause = causeOf(cause);
  }
  return causes;
}

function causeOf(value: unknown): unknown {
  const cause = readProperty(value, 'cause');
  return cause === null ? undefined : cause;
}

function describeCause(value: unknown): SerializedCause {
  // The text of a function is the user's code, and asking for it may run more of that.
  if (typeof value === 'function') return { name: 'function', message: '', code: null };
  if (typeof value !== 'object' || value === null) {
    return { name: typeof value, message: clip(String(value)), code: null };
  }
  const name = readProperty(value, 'name');
  const message = readProperty(value, 'message');
  const code = readProperty(value, 'code');
  return {
    name: typeof name === 'string' && name !== '' ? name : 'Object',
    message: typeof message === 'string' ? clip(message) : '',
    code: typeof code === 'string' ? code : null,
  };
}

/** Name and message of a thrown value, for places that count failures of user code. */
export function describeThrown(value: unknown): { name: string; message: string } {
  const { name, message } = describeCause(value);
  return { name, message: message.slice(0, 200) };
}

function readProperty(value: unknown, key: 'cause' | 'name' | 'message' | 'code'): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  try {
    return (value as Record<typeof key, unknown>)[key];
  } catch {
    return undefined;
  }
}

function clip(text: string): string {
  return text.length <= MAX_MESSAGE ? text : `${text.slice(0, MAX_MESSAGE - 1)}…`;
}
