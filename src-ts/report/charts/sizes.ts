/** What takes how many bytes, and how far each kind of layer is off. */

import type { ReportedRole } from '../groups.js';
import { decibels, megabytes } from '../numbers.js';
import type { Drawing } from './draw.js';

const FLOAT = 'not in codes';
const ROW = 26;
const nameOf = ({ role }: ReportedRole) => role ?? FLOAT;

function frame(roles: readonly ReportedRole[]) {
  return {
    width: 470,
    height: roles.length * ROW + 46,
    marginLeft: 92,
    marginRight: 62,
    marginBottom: 38,
    marginTop: 8,
    y: { domain: roles.map(nameOf), label: null, tickSize: 0 },
  };
}

export function drawSizes({ plot, draw }: Drawing, roles: readonly ReportedRole[]): string {
  const marks = [
    plot.barX(roles, {
      x: 'mb',
      y: nameOf,
      fill: (one) => (one.role === null ? 'var(--quiet)' : 'var(--bar)'),
      insetTop: 4,
      insetBottom: 4,
    }),
    plot.text(roles, {
      x: 'mb',
      y: nameOf,
      text: ({ mb }) => megabytes(mb),
      textAnchor: 'start',
      dx: 5,
      fill: 'currentColor',
    }),
    plot.ruleX([0]),
  ];
  const label = `Size: ${roles.map((one) => `${nameOf(one)} ${megabytes(one.mb)}`).join(', ')}`;
  return draw({ ...frame(roles), x: { label: 'MB written', ticks: 5 }, marks } as never, label);
}

export function drawErrors({ plot, draw }: Drawing, roles: readonly ReportedRole[]): string {
  const coded = roles.filter(({ sqnrDb }) => sqnrDb !== null);
  const marks = [
    plot.ruleY(coded, {
      x1: ({ sqnrDb }) => sqnrDb?.least,
      x2: ({ sqnrDb }) => sqnrDb?.most,
      y: nameOf,
      stroke: 'var(--bar)',
      strokeWidth: 4,
    }),
    plot.dot(coded, { x: ({ sqnrDb }) => sqnrDb?.median, y: nameOf, r: 5, fill: 'currentColor' }),
    plot.text(coded, {
      x: ({ sqnrDb }) => sqnrDb?.most,
      y: nameOf,
      text: ({ sqnrDb }) => decibels(sqnrDb?.median ?? 0),
      textAnchor: 'start',
      dx: 10,
      fill: 'currentColor',
    }),
  ];
  const label = `SQNR of weights, median: ${coded.map((one) => `${nameOf(one)} ${decibels(one.sqnrDb?.median ?? 0)} dB`).join(', ')}`;
  return draw(
    { ...frame(roles), x: { label: 'SQNR of weights, dB', ticks: 5, zero: true, grid: true }, marks } as never,
    label,
  );
}
