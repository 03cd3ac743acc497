/**
 * The single import of the native addon. It is loaded by the first call that needs it, so that importing the package,
 * catching its errors and explaining them works where no addon is installed.
 */
import { flattenCauses } from './errors/causes.js';
import type { ArrowQuantError } from './errors/classes.js';
import { type CallInfo, createError } from './errors/create.js';
import { displayName } from './errors/text.js';
import { version } from './generated/version.js';

/** A handle on one job. It holds no JavaScript value but the progress function, and keeps the event loop alive. */
export interface NativeJob {
  run(onProgress: (event: string) => void): Promise<string>;
  /** Idempotent, at any time. */
  cancel(): void;
}

export interface NativeTensor {
  readonly outcome: string;
  readonly codes?: Uint8Array;
  readonly scales?: Float32Array;
  readonly zeros?: Float32Array;
}

export interface NativeRows {
  readonly outcome: string;
  readonly values?: Float32Array;
}

/** What the addon exports; checked against the generated declarations by a test. */
export interface NativeModule {
  readonly NativeJob: new (request: string) => NativeJob;
  version(): string;
  quantizeTensor(name: string, data: Float32Array, shape: number[], config: string): Promise<NativeTensor>;
  systemInfo(): string;
  readRows(id: number, name: string, first: number, rows: number | undefined, path: string): Promise<NativeRows>;
  closeModel(id: number): void;
  /** Stops the jobs of this thread and waits for them, two seconds at most. */
  stopJobs(): void;
  setLogLevel(level: string): string;
}

let loaded: NativeModule | undefined;

/**
 * Loads the addon once.
 *
 * @param importAddon - replaced by tests
 * @throws ArrowQuantError `AQ_NATIVE_LOAD` where it is missing, broken, or of another version
 */
export async function loadNative(
  call: CallInfo,
  // A literal, which bundlers can follow.
  importAddon: () => Promise<unknown> = () => import('../index.js'),
): Promise<NativeModule> {
  if (loaded !== undefined) return loaded;
  let addon: unknown;
  try {
    addon = await importAddon();
  } catch (cause) {
    throw loadError(call, reasonOf(cause), cause);
  }
  if (!isComplete(addon)) throw loadError(call, 'the addon lacks functions this version needs');
  const found = addon.version();
  if (found !== version) throw loadError(call, `the addon is version ${displayName(found)}, the package ${version}`);
  loaded = addon;
  return addon;
}

function isComplete(addon: unknown): addon is NativeModule {
  if (typeof addon !== 'object' || addon === null) return false;
  const names = [
    'NativeJob',
    'version',
    'quantizeTensor',
    'readRows',
    'closeModel',
    'systemInfo',
    'stopJobs',
    'setLogLevel',
  ] as const;
  return names.every((name) => typeof (addon as Record<string, unknown>)[name] === 'function');
}

function loadError(call: CallInfo, reason: string, cause?: unknown): ArrowQuantError<'AQ_NATIVE_LOAD'> {
  const { platform, arch } = process;
  const tried = cause instanceof Error ? flattenCauses(cause).map(({ message }) => message) : [];
  return createError(
    'AQ_NATIVE_LOAD',
    {
      sentence: `Cannot load the native addon for ${platform}-${arch}: ${reason}.`,
      actions: [
        'reinstall without omitting optional dependencies',
        'check the Node version against engines',
        'run `arrow-quant doctor`',
      ],
      details: { platform, arch, tried },
    },
    call,
    cause === undefined ? undefined : { cause },
  );
}

/**
 * What went wrong, in the words of whoever found it. The loader tries a file beside it and then a package, and tells of both as causes: a
 * file that is not there says nothing where a package was found and could not be loaded.
 */
function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return 'its loader threw something that is no error';
  const messages = flattenCauses(cause).map(({ message }) => message.split('\n')[0] ?? '');
  const missing = messages.map((message) => /^Cannot find module '(.*)'$/.exec(message)?.[1]);
  const other = messages.findLast((message, at) => missing[at] === undefined && message !== '');
  const name = missing.find((module) => module?.startsWith('@arrow-quant/binding-') && !module.includes('wasm32'));
  if (other === undefined && name !== undefined) return `its package ${name} is not installed`;
  return displayName((other ?? messages.at(-1) ?? cause.message).replace(/\.$/, ''));
}
