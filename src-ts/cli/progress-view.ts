/** Progress for people (two moving lines on a terminal, plain lines elsewhere) and for programs (JSON lines). All on stderr. */
import { escapeText } from '../errors/text.js';
import type { ProgressEvent } from '../progress.js';
import { type Palette, palette } from './colour.js';
import { LiveView } from './live-view.js';

const LINE_EVERY_MS = 5_000;
const LINE_EVERY_FRACTION = 0.1;

export interface ProgressFlags {
  readonly json: boolean;
  readonly quiet: boolean;
  /** Asked for, forbidden, or left to whether somebody looks. */
  readonly progress: boolean | undefined;
  /** Of stderr; without colour when left out. */
  readonly palette?: Palette | undefined;
  /** Given where an option asks for a log, which goes to stderr as well. */
  readonly logLevel?: unknown;
}

/** A function that shows events, or undefined where none are wanted. */
export function progressView(flags: ProgressFlags): ((event: ProgressEvent) => void) | undefined {
  if (flags.json) return flags.progress === true ? jsonLines : undefined;
  if (flags.quiet || flags.progress === false) return undefined;
  if (!canMove(process.stderr.isTTY === true, process.env, flags.logLevel)) return plainLines();
  const style = { palette: flags.palette ?? palette(false), unicode: showsUnicode(process.env, process.platform) };
  const view = new LiveView(process.stderr, style);
  return (event) => view.update(event);
}

/** Whether lines can be drawn over: not on a dumb terminal, and not between the lines of a log. */
export function canMove(isTerminal: boolean, env: Readonly<NodeJS.ProcessEnv>, logLevel?: unknown): boolean {
  const logs = [env.ARROW_QUANT_LOG, logLevel].some((level) => level !== undefined && level !== '' && level !== 'off');
  return isTerminal && env.TERM !== 'dumb' && !logs;
}

/** Whether the locale says UTF-8. Outside Unix nothing says so, and terminals there show it. */
export function showsUnicode(env: Readonly<NodeJS.ProcessEnv>, platform: NodeJS.Platform): boolean {
  if (platform === 'win32' || platform === 'darwin') return true;
  return /utf-?8/i.test(env.LC_ALL || env.LC_CTYPE || env.LANG || '');
}

function jsonLines(event: ProgressEvent): void {
  process.stderr.write(`${JSON.stringify({ event: 'progress', ...event })}\n`);
}

function plainLines(): (event: ProgressEvent) => void {
  let last: { readonly phase: string; readonly fraction: number; readonly at: number } | undefined;
  return (event) => {
    const { phase, fraction, layersDone, layersTotal, layer, final } = event;
    const due =
      last === undefined ||
      final ||
      phase !== last.phase ||
      fraction - last.fraction >= LINE_EVERY_FRACTION ||
      performance.now() - last.at >= LINE_EVERY_MS;
    if (!due) return;
    last = { phase, fraction, at: performance.now() };
    const percent = `${Math.floor(fraction * 100)}`.padStart(3);
    const name = layer === null || final ? '' : `  ${escapeText(layer)}`;
    process.stderr.write(`${phase.padEnd(9)} ${percent} %  ${layersDone}/${layersTotal} layers${name}\n`);
  };
}
