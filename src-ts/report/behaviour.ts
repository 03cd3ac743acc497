/**
 * The script of the page: sorting and filtering the table of layers. Without it the page is complete, and the table is in the order of the
 * file. It is text, not a function turned into text, so that its hash does not depend on how this package was compiled.
 */
export const BEHAVIOUR = `
'use strict';
(() => {
  const box = document.getElementById('layer-table');
  if (box === null) return;
  const body = box.querySelector('tbody');
  const rows = Array.from(body.rows, (row) => ({
    row,
    text: row.cells[0].textContent.toLowerCase(),
    outcome: row.dataset.outcome,
    role: row.dataset.role,
    values: Array.from(row.cells, (cell) => (cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v))),
  }));
  const told = document.getElementById('layer-count');
  const search = document.getElementById('layer-search');
  const outcome = document.getElementById('layer-outcome');
  const role = document.getElementById('layer-role');
  document.getElementById('layer-controls').hidden = false;

  const filter = () => {
    const words = search.value.toLowerCase().split(/\\s+/).filter((word) => word !== '');
    let shown = 0;
    for (const one of rows) {
      const fits =
        words.every((word) => one.text.includes(word)) &&
        (outcome.value === '' || one.outcome === outcome.value) &&
        (role.value === '' || one.role === role.value);
      one.row.hidden = !fits;
      if (fits) shown += 1;
    }
    told.textContent = shown + ' of ' + rows.length + ' layers';
  };
  for (const control of [search, outcome, role]) control.addEventListener('input', filter);
  // A browser that comes back to the page has kept what was typed.
  filter();

  const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const heads = Array.from(box.querySelectorAll('thead th'));
  heads.forEach((head, column) => {
    head.querySelector('button').addEventListener('click', () => {
      const down = head.getAttribute('aria-sort') === 'ascending';
      for (const other of heads) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      // What has no figure stands last whichever way.
      const missing = (value) => value !== value;
      const sorted = rows.slice().sort((a, b) => {
        const x = a.values[column];
        const y = b.values[column];
        if (missing(x) || missing(y)) return missing(x) - missing(y);
        return down ? order(y, x) : order(x, y);
      });
      body.append(...sorted.map((one) => one.row));
    });
  });

  // What scrolls must be reached by keys; what does not should be no stop on the way.
  const scrollers = document.querySelectorAll('.scroll, pre');
  const stops = () => {
    for (const one of scrollers) {
      if (one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1) one.tabIndex = 0;
      else one.removeAttribute('tabindex');
    }
  };
  stops();
  addEventListener('resize', stops);
})();
`;
