/** The two lines of a running job, made for a width: what matters least gives way first, and nothing wraps. */
import { escapeText } from '../errors/text.js';
import type { Palette } from './colour.js';
import { clock, columns, shortBytes, shorten } from './terminal-text.js';

const MAX_WIDTH = 100;
const MIN_BAR = 8;
const PHASE = 9;
const GAP = '  ';

/** What the lines tell. */
export interface ProgressState {
  readonly phase: string;
  /** 0 to 1. */
  readonly fraction: number;
  readonly layersDone: number;
  readonly layersTotal: number;
  readonly layer: string | null;
  /** Source bytes a second; null until something is measured. */
  readonly bytesPerSecond: number | null;
  readonly leftMs: number | null;
  /** Of this process, in which the work is done. */
  readonly memoryBytes: number;
  readonly retries: number;
}

export interface LineStyle {
  readonly palette: Palette;
  /** Whether the terminal shows more than ASCII. */
  readonly unicode: boolean;
}

/**
 * @param available - columns of the terminal; the last one stays empty, since some terminals wrap as soon as it is written
 */
export function progressLines(state: ProgressState, available: number, style: LineStyle): readonly string[] {
  const width = Math.max(1, Math.min(MAX_WIDTH, available - 1));
  return [barLine(state, width, style), detailLine(state, width, style)];
}

function barLine(state: ProgressState, width: number, { palette, unicode }: LineStyle): string {
  const { fraction, layersDone, layersTotal, leftMs } = state;
  const phase = state.phase.padEnd(PHASE);
  const percent = `${Math.floor(fraction * 100)} %`.padStart(5);
  const total = `${layersTotal}`;
  const layers = layersTotal === 0 ? '' : `${`${layersDone}`.padStart(total.length)}/${total}`;
  const left = leftMs === null ? '' : clock(leftMs);
  // A figure that is not known yet keeps its place, so that the bar does not jump when it comes.
  const time = left.padStart(4);
  const named = [layers === '' ? '' : `${layers} layers`, left === '' ? ' '.repeat(9) : `${time} left`];
  const tails = [named, [layers, time], [layers], []];
  const fixed = phase.length + 1 + percent.length;
  const lengthOf = (tail: readonly string[]) =>
    tail.reduce((sum, part) => sum + (part === '' ? 0 : GAP.length + part.length), fixed);
  const tail = tails.find((one) => width - lengthOf(one) >= MIN_BAR);
  if (tail === undefined) return shorten(`${phase}${percent}`, width, '');
  const size = width - lengthOf(tail);
  const filled = Math.round(fraction * size);
  const [full, empty] = unicode ? ['█', '░'] : ['#', '-'];
  const bar = palette.green(full.repeat(filled)) + palette.dim(empty.repeat(size - filled));
  const rest = tail
    .filter((part) => part !== '')
    .map((part) => GAP + part)
    .join('');
  return `${phase}${bar} ${percent}${rest}`.trimEnd();
}

function detailLine(state: ProgressState, width: number, { palette, unicode }: LineStyle): string {
  const rate = state.bytesPerSecond === null ? '' : `${shortBytes(state.bytesPerSecond)}/s`.padStart(8);
  const memory = shortBytes(state.memoryBytes).padStart(6);
  const retries = state.retries === 0 ? '' : `${state.retries} ${state.retries === 1 ? 'retry' : 'retries'}`;
  const choices = [[retries, rate, `${memory} memory`], [rate, memory], [rate], []];
  const join = (parts: readonly string[]) => parts.filter((part) => part !== '').join(GAP);
  // Of a name shorter than this nobody knows which layer it is.
  const wanted = Math.min(columns(state.layer ?? ''), 16);
  const figures = choices.map(join).find((text) => text.length + GAP.length + wanted <= width) ?? '';
  const room = width - (figures === '' ? 0 : figures.length + GAP.length);
  const name = shorten(escapeText(state.layer ?? ''), room, unicode ? '…' : '..');
  // To the right, where figures stand still while names come and go.
  const padding = figures === '' ? '' : ' '.repeat(room - columns(name)) + GAP;
  return palette.dim(`${name}${padding}${figures}`);
}
