/** What a job changes on disk, in its order, as the fault build records it. */
import { createRequire } from 'node:module';
import path from 'node:path';

/** Names are relative to the folder that was watched; those outside it are left out. */
export type Change =
  | { readonly kind: 'create' | 'folder' | 'sync' | 'syncFolder' | 'remove'; readonly at: Name }
  | { readonly kind: 'write'; readonly at: Name; readonly offset: number; readonly bytes: Buffer }
  | { readonly kind: 'length'; readonly at: Name; readonly length: number }
  | { readonly kind: 'rename'; readonly at: Name; readonly to: Name };

/** The parts of a path. */
export type Name = readonly string[];

interface Recorder {
  recordChanges(): void;
  recordedChanges(): string;
}

/** Runs a job of one thread and returns what it changed below a folder. */
export async function recorded(folder: string, job: () => Promise<unknown>): Promise<readonly Change[]> {
  const addon = createRequire(import.meta.url)(process.env.NAPI_RS_NATIVE_LIBRARY_PATH ?? '') as Recorder;
  addon.recordChanges();
  await job();
  const changes: Record<string, unknown>[] = JSON.parse(addon.recordedChanges());
  return changes.flatMap((change) => changeOf(folder, change));
}

function changeOf(folder: string, change: Record<string, unknown>): readonly Change[] {
  const [[kind, given] = []] = Object.entries(change);
  const [file, ...more] = [given].flat() as [string, ...unknown[]];
  const at = nameIn(folder, file);
  if (at === undefined) return [];
  switch (kind) {
    case 'write':
      return [{ kind, at, offset: more[0] as number, bytes: Buffer.from(more[1] as string, 'latin1') }];
    case 'length':
      return [{ kind, at, length: more[0] as number }];
    case 'rename':
      return [{ kind, at, to: nameIn(folder, more[0] as string) ?? [] }];
    case 'create':
    case 'folder':
    case 'sync':
    case 'syncFolder':
    case 'remove':
      return [{ kind, at }];
    default:
      throw new Error(`no change is called ${kind}`);
  }
}

function nameIn(folder: string, file: string): Name | undefined {
  const relative = path.relative(folder, file);
  if (relative === '') return [];
  return relative.startsWith('..') ? undefined : relative.split(path.sep);
}
