/** Paths as callers give them. */
import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { displayName } from '../errors/text.js';
import { type Check, isCleanText } from './checks.js';
import type { Place } from './place.js';

const EXPECTED = 'a path or a file: URL';

/** The absolute path a string or file: URL means; relative ones count from the working directory. */
export function readPath(value: unknown, place: Place): string | undefined {
  const spot = place.withHint('Give a non-empty path, or a URL that begins with file:.');
  if (typeof value === 'string') {
    return value !== '' && isCleanText(value) ? path.resolve(value) : spot.refuse(EXPECTED, value);
  }
  if (!isUrl(value)) return spot.refuse(EXPECTED, value);
  let received = 'URL';
  try {
    // A subclass may answer with anything, or throw.
    received = displayName(`URL ${value.protocol}`);
    const text = fileURLToPath(value);
    return isCleanText(text) ? path.resolve(text) : spot.refuse(EXPECTED, value);
  } catch (cause) {
    return spot.refuse(EXPECTED, value, { received, cause });
  }
}

const CALIBRATION = 'the path of a .safetensors, .jsonl, .parquet or .arrow file';

/** The absolute path of a calibration file, which the extension tells. Whether it exists is seen when the job opens it. */
export const calibrationPath: Check<string> = (value, place) => {
  const isPath = typeof value === 'string' && value !== '' && isCleanText(value);
  if (isPath && /\.(safetensors|jsonl|parquet|arrow)$/i.test(value)) return path.resolve(value);
  return place.refuse(CALIBRATION, value);
};

/** instanceof, which throws on a revoked proxy. */
function isUrl(value: unknown): value is URL {
  try {
    return value instanceof URL;
  } catch {
    return false;
  }
}

/** Notes an output that is the model, lies in it, or holds it; links are resolved, absent parts are taken as named. */
export async function checkApart(modelPath: string, outputPath: string, place: Place): Promise<void> {
  const [model, output] = await Promise.all([resolveLinks(modelPath), resolveLinks(outputPath)]);
  if (holds(model, output) || holds(output, model)) {
    place
      .withHint('Choose an outputPath that neither is, nor lies in, nor holds the model.')
      .refuse('a path apart from modelPath', outputPath);
  }
}

function holds(outer: string, inner: string): boolean {
  const way = path.relative(outer, inner);
  return way === '' || (way !== '..' && !way.startsWith(`..${path.sep}`) && !path.isAbsolute(way));
}

/** The real path of the part that exists, and the rest as it stands. */
async function resolveLinks(target: string): Promise<string> {
  const rest: string[] = [];
  let existing = target;
  for (;;) {
    try {
      return path.join(await realpath(existing), ...rest);
    } catch {
      const parent = path.dirname(existing);
      if (parent === existing) return target;
      rest.unshift(path.basename(existing));
      existing = parent;
    }
  }
}
