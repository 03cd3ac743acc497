/** The style of the page: the system's font, light and dark, narrow and wide, on paper. No style attributes, so that a hash covers all of it. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #ffffff; --card: #f4f5f7; --text: #1b1f24; --soft: #57606a; --edge: #d0d7de; --link: #0550ae;
  --bar: #0b6bbf; --quiet: #9aa4af; --alert: #b83200; --good: #116329;
  --bits-2: #b83200; --bits-4: #0b6bbf; --bits-8: #00795c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1c222b; --text: #e6eaf0; --soft: #a2adba; --edge: #3a4450; --link: #7cb8ff;
    --bar: #5aa9f0; --quiet: #6b7785; --alert: #ff8f5c; --good: #5fd38a;
    --bits-2: #ff8f5c; --bits-4: #5aa9f0; --bits-8: #3ecfa6;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 3rem; }
body {
  margin: 0 auto; padding: 0 1rem 3rem; max-width: 72rem; color: var(--text); background: var(--page);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 1.2rem 0 .2rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--edge); }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .4rem 0; max-width: 75ch; }
a { color: var(--link); }
a:focus-visible, button:focus-visible, input:focus-visible, select:focus-visible, .scroll:focus-visible, summary:focus-visible {
  outline: 2px solid var(--link); outline-offset: 2px;
}
.soft, figcaption, caption { color: var(--soft); }
.alert { color: var(--alert); font-weight: 600; }
.good { color: var(--good); font-weight: 600; }
nav { position: sticky; top: 0; z-index: 3; background: var(--page); border-bottom: 1px solid var(--edge); margin: 0 -1rem; padding: .4rem 1rem; }
nav ul { display: flex; gap: .2rem 1rem; margin: 0; padding: 0; list-style: none; flex-wrap: wrap; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: .5rem; z-index: 4; background: var(--page); padding: .4rem .8rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(11.5rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.figures div { background: var(--card); border: 1px solid var(--edge); border-radius: 6px; padding: .6rem .8rem; }
.figures dt { color: var(--soft); font-size: .85rem; }
.figures dd { margin: 0; }
.figures dd:first-of-type { font-size: 1.15rem; line-height: 1.35; font-weight: 600; font-variant-numeric: tabular-nums; }
.figures dd + dd { font-size: .85rem; color: var(--soft); }
ul { margin: .4rem 0; padding-left: 1.2rem; }
figure { margin: .8rem 0; }
figcaption { font-size: .9rem; max-width: 75ch; }
.scroll { overflow: auto; max-width: 100%; }
.pair { display: flex; flex-wrap: wrap; gap: 0 1.5rem; }
.pair figure { flex: 1 1 18rem; min-width: 0; }
.maps { display: flex; flex-wrap: wrap; gap: 0 3rem; }
.maps > div { min-width: 0; max-width: 100%; }
.plot { display: block; height: auto; max-width: 100%; min-width: min(100%, 18rem); }
.plot text { white-space: pre; font-variant-numeric: tabular-nums; }
.wide .plot { min-width: 40rem; }
.map .plot { max-width: none; min-width: 0; }
.plot, .key { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.key { display: inline-block; width: .8em; height: .8em; margin-right: .35em; border: 1px solid var(--edge); vertical-align: baseline; }
.key.b2 { background: var(--bits-2); } .key.b4 { background: var(--bits-4); } .key.b8 { background: var(--bits-8); }
.key.quiet { background: var(--quiet); } .key.alert { background: var(--alert); } .key.bar { background: var(--bar); }
.keys > span { margin-right: 1.2em; white-space: nowrap; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; min-width: 100%; overflow-wrap: break-word; }
table.small { min-width: min(100%, 34rem); }
table.broad { min-width: max(100%, 46rem); }
.tall { max-height: 32rem; border: 1px solid var(--edge); }
.tall thead th { position: sticky; top: 0; }
caption { text-align: left; padding: .3rem 0; }
.tall caption, #layer-table caption { padding: .3rem .6rem; }
section > .scroll { margin-bottom: .8rem; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--edge); vertical-align: top; }
thead th { background: var(--card); vertical-align: bottom; }
tbody th { font-weight: 400; }
.n { text-align: right; }
td.n { white-space: nowrap; }
.name { min-width: 14rem; }
.controls { display: flex; flex-wrap: wrap; gap: .6rem 1rem; align-items: end; margin: .6rem 0; }
#layer-table th, #layer-table td { padding-inline: .5rem; }
#layer-table td { white-space: nowrap; }
.controls label { display: block; font-size: .85rem; color: var(--soft); }
.controls p { margin: 0; }
input, select, button { font: inherit; color: inherit; background: var(--page); border: 1px solid var(--soft); border-radius: 4px; padding: .25rem .5rem; }
#layer-table { max-height: 80vh; border: 1px solid var(--edge); }
#layer-table thead th { position: sticky; top: 0; z-index: 1; padding: 0; white-space: nowrap; }
#layer-table thead button { width: 100%; border: 0; border-radius: 0; background: none; padding: .3rem .5rem; text-align: inherit; font-weight: 600; cursor: pointer; white-space: nowrap; }
#layer-table thead button:focus-visible { outline-offset: -2px; }
#layer-table thead button::after { content: "\\2195"; margin-left: .4em; color: var(--soft); font-weight: 400; }
#layer-table [aria-sort="ascending"] button::after { content: "\\2191"; color: var(--text); }
#layer-table [aria-sort="descending"] button::after { content: "\\2193"; color: var(--text); }
#layer-table tbody tr:hover { background: var(--card); }
[hidden] { display: none !important; }
pre { background: var(--card); border: 1px solid var(--edge); border-radius: 6px; padding: .7rem .9rem; margin: .4rem 0; overflow: auto; font-size: .85rem; line-height: 1.45; }
code { font-family: ui-monospace, monospace; font-size: .92em; }
pre code { font-size: 1em; overflow-wrap: normal; }
@media (max-width: 30rem) {
  nav { position: static; }
  .figures div:last-child:nth-child(odd) { grid-column: 1 / -1; }
  h1 { font-size: 1.3rem; }
  .figures { grid-template-columns: 1fr 1fr; }
  .figures div { padding: .4rem .6rem; }
  .figures dd:first-of-type { font-size: 1.05rem; }
}
@page {
  margin: 14mm 10mm;
  @bottom-right { content: counter(page) " / " counter(pages); font: 7.5pt system-ui, sans-serif; color: #444444; }
}
@media print {
  :root {
    color-scheme: light; font-size: 9.5pt;
    --page: #ffffff; --card: #f4f5f7; --text: #000000; --soft: #444444; --edge: #bbbbbb; --link: #000000;
    --bar: #0b6bbf; --quiet: #9aa4af; --alert: #b83200; --good: #116329;
    --bits-2: #b83200; --bits-4: #0b6bbf; --bits-8: #00795c;
  }
  /* A page's width is no whole number of pixels: without room at its edge borders are cut there. */
  body { max-width: none; padding: 0 1px; }
  nav, .controls, .skip, .screen { display: none; }
  a { text-decoration: none; }
  h2 { margin-top: 1.2rem; }
  h3 { margin-top: .8rem; }
  figure { margin: .5rem 0; }
  .figures { grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .4rem; }
  .figures div { padding: .4rem .6rem; }
  .scroll, .tall, #layer-table { overflow: visible; max-height: none; border: 0; }
  .plot, .map .plot, .wide .plot { max-width: 100%; min-width: 0; }
  .maps { gap: 0 1rem; }
  .map .plot { zoom: .85; }
  table, table.broad, table.small { font-size: 7.5pt; min-width: 100%; }
  thead { display: table-header-group; }
  #layer-table table { font-size: 7pt; line-height: 1.3; }
  #layer-table code { font-size: .88em; }
  #layer-table thead th, .tall thead th { position: static; }
  #layer-table thead th, #layer-table thead button, #layer-table td:last-child, #layer-table td:nth-last-child(2) { white-space: normal; }
  #layer-table thead th { padding: .2rem; }
  #layer-table td:nth-last-child(2) { min-width: 4.4rem; }
  /* A button would be left out where a page repeats the head. */
  #layer-table thead button { display: contents; }
  #layer-table thead button::after { content: none; }
  #layer-table th, #layer-table td { padding-inline: .2rem; }
  .name { width: 100%; min-width: 9rem; }
  summary { list-style: none; }
  details::details-content { content-visibility: visible; block-size: auto; }
  pre { white-space: pre-wrap; }
  tr, p, li, figure, .pair, .figures div, pre { break-inside: avoid; }
  h2, h3, caption, summary, thead, .keys, section > p:not(:last-child), .maps figure:first-of-type { break-after: avoid; }
  /* No row alone at the end of a page, nor at the beginning of one. */
  tbody tr:first-child:not(:last-child) { break-after: avoid; }
  tbody tr:last-child, pre + p { break-before: avoid; }
}
`;
