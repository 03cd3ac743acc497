/** Text that has to fit: widths in columns, names cut in the middle, and figures as short as a moving line needs them. */

/** From Hangul upwards a character may be two columns wide. Counted as two it never takes more than was counted. */
const MAYBE_WIDE = 0x1100;
const OWN = new Set(['…', '█', '░']);

/** Columns that a text takes at most. */
export function columns(text: string): number {
  let sum = 0;
  for (const character of text) sum += widthOf(character);
  return sum;
}

function widthOf(character: string): number {
  return (character.codePointAt(0) ?? 0) < MAYBE_WIDE || OWN.has(character) ? 1 : 2;
}

/** A text in at most so many columns. What goes is in the middle: the ends of a layer's name tell more. */
export function shorten(text: string, width: number, ellipsis = '…'): string {
  if (columns(text) <= width) return text;
  const room = width - columns(ellipsis);
  if (room < 1) return takeFirst([...text], width);
  const characters = [...text];
  const head = takeFirst(characters, Math.floor(room / 2));
  const tail = takeFirst(characters.reverse(), room - columns(head));
  return head + ellipsis + [...tail].reverse().join('');
}

function takeFirst(characters: readonly string[], width: number): string {
  let taken = '';
  let left = width;
  for (const character of characters) {
    left -= widthOf(character);
    if (left < 0) break;
    taken += character;
  }
  return taken;
}

/** 0:07, 12:30, 1:05:00 */
export function clock(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1000);
  const two = (value: number) => `${value}`.padStart(2, '0');
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}:${two(seconds % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}

/** Three digits or so: 3.2 MB, 210 MB, 1.4 GB. */
export function shortBytes(bytes: number): string {
  const mb = bytes / 1e6;
  if (mb >= 999.5) return `${(mb / 1000).toFixed(1)} GB`;
  return `${mb < 9.95 ? mb.toFixed(1) : mb.toFixed(0)} MB`;
}

/** A text in lines of at most so many columns, broken at spaces; a longer word keeps its length. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && columns(line) + 1 + columns(word) > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
