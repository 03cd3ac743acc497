/** Two lines at the bottom of a terminal that follow a job, and a terminal that is as before when they are gone. */
import type { ProgressEvent } from '../progress.js';
import { type LineStyle, progressLines } from './progress-lines.js';
import { Throughput } from './throughput.js';

const DRAW_EVERY_MS = 80;
const TICK_MS = 500;
/** How long a width must last before lines are drawn for it. */
const SETTLE_MS = 400;
/** What terminals had before they told their size; some say that they have no columns at all. */
const USUAL_COLUMNS = 80;

const HIDE_CURSOR = '\u001b[?25l';
const SHOW_CURSOR = '\u001b[?25h';
const ERASE_LINE_END = '\u001b[K';
/** Never from the first line on: at the top of a screen some terminals take that for clearing it, and keep what was there. */
const ERASE_BELOW = '\u001b[J';
const UP = '\u001b[A';
/** A terminal that got narrower a moment ago cuts a line instead of breaking it. */
const NO_WRAP = '\u001b[?7l';
const WRAP = '\u001b[?7h';

/** The part of `tty.WriteStream` that is needed. */
export interface Terminal {
  readonly columns?: number | undefined;
  write(text: string): unknown;
  on(event: 'resize', listener: () => void): unknown;
  off(event: 'resize', listener: () => void): unknown;
}

/** Replaced by tests. */
export interface Surroundings {
  readonly now: () => number;
  readonly memoryBytes: () => number;
}

const OWN: Surroundings = { now: () => performance.now(), memoryBytes: () => process.memoryUsage.rss() };

export class LiveView {
  readonly #terminal: Terminal;
  readonly #style: LineStyle;
  readonly #own: Surroundings;
  readonly #throughput = new Throughput();
  readonly #listeners: readonly (readonly [string, () => void])[];
  #event: ProgressEvent | undefined;
  #eventAt = 0;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #resizedAt = Number.NEGATIVE_INFINITY;
  #isDrawn = false;
  #interrupted = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(terminal: Terminal, style: LineStyle, own: Surroundings = OWN) {
    this.#terminal = terminal;
    this.#style = style;
    this.#own = own;
    this.#listeners = [
      // A second Ctrl-C ends the process where it stands.
      ['exit', () => this.#clear()],
      ['SIGINT', () => this.#onInterrupt()],
      // Windows has neither.
      ...(process.platform === 'win32'
        ? []
        : ([
            ['SIGTSTP', () => this.#onSuspend()],
            ['SIGCONT', () => this.#draw()],
          ] as const)),
    ];
  }

  /** Takes an event; the final one removes the lines. */
  update(event: ProgressEvent): void {
    if (event.final) {
      this.#stop();
      return;
    }
    const now = this.#own.now();
    const isNewPhase = event.phase !== this.#event?.phase;
    this.#event = event;
    this.#eventAt = now;
    this.#throughput.add(now, event.bytesDone);
    if (this.#timer === undefined) this.#start();
    if (isNewPhase || now - this.#drawnAt >= DRAW_EVERY_MS) this.#draw();
  }

  #start(): void {
    // Also where no event comes for a while: time passes, and memory changes.
    this.#timer = setInterval(() => this.#draw(), TICK_MS);
    this.#timer.unref();
    for (const [name, listener] of this.#listeners) process.on(name as 'exit', listener);
    this.#terminal.on('resize', this.#onResize);
  }

  #stop(): void {
    clearInterval(this.#timer);
    for (const [name, listener] of this.#listeners) process.off(name as 'exit', listener);
    this.#terminal.off('resize', this.#onResize);
    this.#clear();
  }

  /**
   * A window that is dragged gets narrower in many steps, and each breaks full lines into more rows, which push those above out of the
   * screen; tmux does so even where rows are free below. What is pushed out nothing can erase: with lines drawn at every step that would
   * soon be lines of ours. So they go at the first step, and come back when the width has settled.
   */
  readonly #onResize = (): void => {
    this.#clear();
    this.#resizedAt = this.#own.now();
  };

  #onInterrupt(): void {
    this.#interrupted = true;
    this.#draw();
  }

  /** The shell gets a terminal with a cursor and without half a picture. */
  #onSuspend(): void {
    this.#clear();
    process.kill(process.pid, 'SIGSTOP');
  }

  #draw(): void {
    const event = this.#event;
    if (event === undefined) return;
    const now = this.#own.now();
    if (now - this.#resizedAt < SETTLE_MS) return;
    const { layersDone, layersTotal, layer, fraction, etaMs, retries } = event;
    const lines = progressLines(
      {
        phase: this.#interrupted ? 'stopping' : event.phase,
        fraction,
        layersDone,
        layersTotal,
        layer,
        bytesPerSecond: this.#throughput.bytesPerSecond(now),
        leftMs: etaMs === null ? null : Math.max(0, etaMs - (now - this.#eventAt)),
        memoryBytes: this.#own.memoryBytes(),
        retries,
      },
      this.#terminal.columns || USUAL_COLUMNS,
      this.#style,
    );
    // The cursor waits at the beginning of the first line: there it stays when a terminal breaks the lines anew for another width, and
    // all that was drawn is below it.
    const hide = this.#isDrawn ? '' : HIDE_CURSOR;
    this.#terminal.write(
      `${hide}${NO_WRAP}\r${lines.join(`${ERASE_LINE_END}\n`)}${ERASE_BELOW}\r${UP.repeat(lines.length - 1)}${WRAP}`,
    );
    this.#isDrawn = true;
    this.#drawnAt = now;
  }

  #clear(): void {
    if (!this.#isDrawn) return;
    this.#terminal.write(`\r${ERASE_LINE_END}\n${ERASE_BELOW}${UP}${SHOW_CURSOR}`);
    this.#isDrawn = false;
  }
}
