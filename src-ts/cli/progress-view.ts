/** Progress for people (a bar on a terminal, plain lines elsewhere) and for programs (JSON lines). All on stderr. */
import { Presets, SingleBar } from 'cli-progress';
import { escapeText } from '../errors/text.js';
import type { ProgressEvent } from '../progress.js';

const LINE_EVERY_MS = 5_000;
const LINE_EVERY_FRACTION = 0.1;

export interface ProgressFlags {
  readonly json: boolean;
  readonly quiet: boolean;
  /** Asked for, forbidden, or left to whether somebody looks. */
  readonly progress: boolean | undefined;
}

/** A function that shows events, or undefined where none are wanted. */
export function progressView(flags: ProgressFlags): ((event: ProgressEvent) => void) | undefined {
  if (flags.json) return flags.progress === true ? jsonLines : undefined;
  if (flags.quiet || flags.progress === false) return undefined;
  return process.stderr.isTTY === true ? bar() : plainLines();
}

function jsonLines(event: ProgressEvent): void {
  process.stderr.write(`${JSON.stringify({ event: 'progress', ...event })}\n`);
}

function bar(): (event: ProgressEvent) => void {
  const view = new SingleBar(
    {
      stream: process.stderr,
      format: '{bar} {percentage}%  {phase}  {layersDone}/{layersTotal} layers  {left}',
      hideCursor: true,
      clearOnComplete: true,
      stopOnComplete: false,
      barsize: 30,
    },
    Presets.shades_classic,
  );
  view.start(1000, 0, { phase: 'open', layersDone: 0, layersTotal: 0, left: '' });
  return (event) => {
    const { phase, layersDone, layersTotal, etaMs } = event;
    const left = etaMs === null ? '' : `${Math.ceil(etaMs / 1000)} s left`;
    view.update(Math.round(event.fraction * 1000), { phase, layersDone, layersTotal, left });
    if (event.final) view.stop();
  };
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
