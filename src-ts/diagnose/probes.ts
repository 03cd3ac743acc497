/** Looks at the machine. Each probe answers for itself and throws nothing. */
import { statfs } from 'node:fs/promises';
import { availableParallelism, freemem, totalmem } from 'node:os';
import path from 'node:path';
import { ArrowQuantError } from '../errors/classes.js';
import type { CallInfo } from '../errors/create.js';
import { sentenceOf } from '../errors/sentence.js';
import { unwrapOutcome } from '../errors/throw-native.js';
import { loadNative } from '../native.js';
import type { Status } from './status.js';

/** The addon, and what only it knows of the processor. */
export async function probeNative(
  call: CallInfo,
): Promise<{ native: Status['native']; cpu: Status['cpu']; devices: Status['devices'] }> {
  try {
    const native = await loadNative(call);
    const info = unwrapOutcome(native.systemInfo(), call) as {
      readonly simd?: unknown;
      readonly threads?: unknown;
      readonly devices?: unknown;
    } | null;
    const simd = typeof info?.simd === 'string' ? info.simd : null;
    // Node does not see the quota of a control group in every version.
    const cores = typeof info?.threads === 'number' ? info.threads : availableParallelism();
    const devices = Array.isArray(info?.devices) ? (info.devices as Status['devices']) : [];
    return { native: { loaded: true, version: native.version(), error: null }, cpu: { cores, simd }, devices };
  } catch (error) {
    return {
      native: { loaded: false, version: null, error: reasonOf(error) },
      cpu: { cores: availableParallelism(), simd: null },
      devices: [],
    };
  }
}

/** Memory of the machine and, where there is one, of the container. */
export function probeMemory(constrained: number | undefined = process.constrainedMemory()): Status['memory'] {
  const total = totalmem();
  // No limit shows as undefined, 0, or a number beyond all memory.
  const limit = constrained !== undefined && constrained > 0 && constrained < total ? constrained : null;
  return { total, available: Math.min(freemem(), limit ?? total), limit };
}

/** Space in a folder, or in the nearest one above it that exists: an output is made by the job. */
export async function probeDisk(folder: string): Promise<Status['disk']> {
  let existing = folder;
  for (;;) {
    try {
      const { bavail, bsize } = await statfs(existing);
      return { path: folder, free: bavail * bsize };
    } catch {
      const parent = path.dirname(existing);
      if (parent === existing) return null;
      existing = parent;
    }
  }
}

function reasonOf(error: unknown): string {
  return error instanceof ArrowQuantError ? sentenceOf(error) : String(error);
}
