/** What the page tells of the written folder beyond the result: its weight files, and parts that its pipeline lacks. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { isPlainObject } from '../config/read-record.js';

export interface OutputFolder {
  /** Paths within the folder, with `/`. */
  readonly files: readonly { readonly name: string; readonly bytes: number }[];
  /** Parts that `model_index.json` names without a class: diffusers wants to be told of them. */
  readonly absent: readonly string[];
}

export const UNKNOWN_FOLDER: OutputFolder = { files: [], absent: [] };

/** Nothing here is worth failing for: what cannot be read is left out. */
export async function readOutputFolder(folder: string, manifestPath: string): Promise<OutputFolder> {
  const [manifest, index] = await Promise.all([
    readObject(manifestPath),
    readObject(path.join(folder, 'model_index.json')),
  ]);
  const listed = Array.isArray(manifest.files) ? manifest.files.filter(isPlainObject) : [];
  const files = listed.flatMap((file) => {
    const { name, bytes } = file as { readonly name?: unknown; readonly bytes?: unknown };
    return typeof name === 'string' && typeof bytes === 'number' ? [{ name, bytes }] : [];
  });
  const absent = Object.entries(index).filter(
    ([, value]) => Array.isArray(value) && value.length === 2 && value.every((one) => one === null),
  );
  return { files, absent: absent.map(([name]) => name) };
}

async function readObject(file: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    const value: unknown = JSON.parse(await readFile(file, 'utf8'));
    return isPlainObject(value) ? (value as Readonly<Record<string, unknown>>) : {};
  } catch {
    return {};
  }
}
