/** The message of an error without its advice, for places that show the advice on lines of its own. */
import type { ArrowQuantError } from './classes.js';

/** What was wrong, without `Hint: …` or `Suggestions: …`. */
export function sentenceOf({ message, hint }: ArrowQuantError): string {
  const marks = [message.indexOf(' Suggestions: (1) '), hint === '' ? -1 : message.lastIndexOf(` Hint: ${hint}`)];
  const end = Math.max(...marks);
  return end === -1 ? message : message.slice(0, end);
}
