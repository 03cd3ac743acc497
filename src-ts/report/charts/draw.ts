/**
 * Charts as SVG text, by Observable Plot on a document of linkedom. Both are loaded by the first page only: importing this package must stay
 * cheap, and most processes never write one.
 */
import type * as Plot from '@observablehq/plot';
import { htmlText } from '../html.js';

type PlotModule = typeof Plot;

export interface Drawing {
  readonly plot: PlotModule;
  /** Draws. The label stands for the whole picture where it is not seen; what is in it is in a table nearby, too. */
  draw(options: Plot.PlotOptions & { readonly fontSize?: number }, label: string): string;
}

export async function openDrawing(): Promise<Drawing> {
  const [plot, { parseHTML }] = await Promise.all([import('@observablehq/plot'), import('linkedom')]);
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  return {
    plot,
    draw: ({ fontSize = 12, ...options }, label) => {
      // A class name of our own, so that nothing in the page depends on one that Plot makes up.
      const svg: SvgElement = plot.plot({ ...options, document, className: 'plot' } as Plot.PlotOptions);
      clean(svg);
      svg.setAttribute('font-size', String(fontSize));
      return svg.outerHTML.replace('<svg ', `<svg role="img" aria-label="${htmlText(label)}" `);
    },
  };
}

/** The little of an element that is needed; the DOM's types are no part of a program for Node. */
interface SvgElement {
  readonly outerHTML: string;
  querySelectorAll(selectors: string): Iterable<SvgElement>;
  setAttribute(name: string, value: string): void;
  removeAttribute(name: string): void;
  remove(): void;
}

/**
 * Plot repeats one style element in every drawing: the page has these rules once, and its policy names all styles by hash. Labels of single
 * parts would be read out one by one: the picture has one.
 */
function clean(svg: SvgElement): void {
  for (const style of svg.querySelectorAll('style')) style.remove();
  for (const element of svg.querySelectorAll('*')) {
    for (const name of ['style', 'aria-label', 'aria-hidden', 'aria-description']) element.removeAttribute(name);
  }
  svg.removeAttribute('style');
}
