/** A profile as one HTML page: no script, nothing from elsewhere, light and dark. Texts of the data are escaped. */
import type { Bins, ColumnProfile, DataProfile, LabelRelation } from '../../contracts/data.ts';
import { figure, medianOf, shareText } from './profile-text.ts';

const WIDTH = 320;
const HEIGHT = 120;
const PLOT_TOP = 6;
const PLOT_BOTTOM = 100;

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
export const escaped = (text: string): string => text.replace(/[&<>"']/g, (character) => ESCAPES[character] ?? '');

const STYLE = `
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6577; --line: #d9dee7; --card: #ffffff; --page: #f4f6f9; --bar: #3b6fb6; --mark: #c2571a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf1; --soft: #9aa5b8; --line: #323a48; --card: #1b212b; --page: #12161d; --bar: #6ea3ea; --mark: #f0a35e; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem clamp(1rem, 4vw, 3rem); background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .75rem; }
p { margin: 0; color: var(--soft); } main { max-width: 90rem; margin: auto; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(21rem, 1fr)); gap: 1rem; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .9rem 1rem; min-width: 0; }
h3 { margin: 0 0 .5rem; font-size: 1rem; overflow-wrap: anywhere; } h3 small { font-weight: 400; color: var(--soft); margin-left: .4rem; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
rect { fill: var(--bar); } rect.track { fill: var(--line); } line { stroke: var(--line); } line.mark { stroke: var(--mark); stroke-width: 1.5; }
dl { display: grid; grid-template-columns: repeat(3, 1fr); gap: .3rem .8rem; margin: .7rem 0 0; }
dt { color: var(--soft); font-size: .78rem; } dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.values { display: grid; gap: .25rem; } .value { display: grid; grid-template-columns: minmax(4rem, 40%) 1fr 4rem; gap: .6rem; align-items: center; }
.value span:first-child { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; } .value span:last-child { text-align: right; color: var(--soft); font-variant-numeric: tabular-nums; }
.track { height: .7rem; background: var(--line); border-radius: .2rem; overflow: hidden; } .track b { display: block; height: 100%; background: var(--bar); }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; } th, td { text-align: right; padding: .3rem .7rem; border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; } th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 500; font-size: .85rem; }
`;

const atOf = (column: ColumnProfile, value: number): string =>
  column.type === 'timestamp' ? figure(new Date(value).toISOString().replace('.000Z', 'Z')) : figure(value);

/** Bars from the least to the greatest value, with a mark at the median. */
function plot(column: ColumnProfile, { bounds, counts }: Bins, rows: number): string {
  const most = Math.max(...counts, 1);
  const step = WIDTH / counts.length;
  const high = bounds.at(-1) ?? 0;
  const width = bounds.length > 1 ? (bounds[1] ?? 0) - (bounds[0] ?? 0) : 0;
  const low = (bounds[0] ?? 0) - width;
  // A bar of one whole number stands for it, another one for a range.
  const isEach = column.type === 'int64' && width <= 1;
  const rects = counts.map((count, index) => {
    const height = ((PLOT_BOTTOM - PLOT_TOP) * count) / most;
    const to = atOf(column, bounds[index] ?? high);
    const from = index === 0 ? figure(column.min) : atOf(column, bounds[index - 1] ?? low);
    const told = `${isEach ? to : `${from} to ${to}`}: ${count.toLocaleString('en')} (${shareText(count, rows)})`;
    return `<rect x="${(index * step + 0.5).toFixed(1)}" y="${(PLOT_BOTTOM - height).toFixed(1)}" width="${Math.max(1, step - 1).toFixed(1)}" height="${height.toFixed(1)}"><title>${escaped(told)}</title></rect>`;
  });
  const median = column.quantiles[7];
  const place =
    median === undefined || !(high > low) ? null : (WIDTH * (median - low - (isEach ? 0.5 : 0))) / (high - low);
  const mark =
    place === null || median === undefined
      ? ''
      : `<line class="mark" x1="${place.toFixed(1)}" x2="${place.toFixed(1)}" y1="2" y2="${PLOT_BOTTOM}"><title>median ${escaped(atOf(column, median))}</title></line>`;
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Histogram of ${escaped(column.name)}">${rects.join('')}<line x1="0" x2="${WIDTH}" y1="${PLOT_BOTTOM}" y2="${PLOT_BOTTOM}"/>${mark}<text x="0" y="115">${escaped(figure(column.min))}</text><text x="${WIDTH}" y="115" text-anchor="end">${escaped(figure(column.max))}</text></svg>`;
}

function valueBars({ top }: ColumnProfile, rows: number): string {
  const most = Math.max(...top.map(({ count }) => count), 1);
  const lines = top.map(
    ({ value, count }) =>
      `<div class="value"><span title="${escaped(value)}">${escaped(value) || '(empty)'}</span><span class="track"><b style="width:${((100 * count) / most).toFixed(1)}%"></b></span><span>${shareText(count, rows)}</span></div>`,
  );
  return `<div class="values">${lines.join('')}</div>`;
}

function card(column: ColumnProfile, rows: number): string {
  const facts: readonly (readonly [string, string])[] = [
    ['null', column.nulls === 0 ? '0' : `${column.nulls.toLocaleString('en')} (${shareText(column.nulls, rows)})`],
    ['distinct', `${column.distinct.estimated ? '≈ ' : ''}${column.distinct.values.toLocaleString('en')}`],
    ...(column.notFinite > 0 ? [['NaN, infinite', column.notFinite.toLocaleString('en')] as const] : []),
    ...(column.min === null
      ? []
      : [['min', figure(column.min)] as const, ['median', figure(medianOf(column))] as const]),
    ...(column.max === null ? [] : [['max', figure(column.max)] as const]),
    ...(column.mean === null ? [] : [['mean', figure(column.mean)] as const]),
    ...(column.std === null ? [] : [['deviation', figure(column.std)] as const]),
  ];
  const shown = column.histogram
    ? plot(column, column.histogram, rows)
    : column.top.length > 0
      ? valueBars(column, rows)
      : `<p>${column.nulls === rows ? 'No value.' : 'No value is frequent.'}</p>`;
  const list = facts.map(([name, value]) => `<div><dt>${name}</dt><dd>${escaped(value)}</dd></div>`).join('');
  return `<article><h3>${escaped(column.name)}<small>${column.type}</small></h3>${shown}<dl>${list}</dl></article>`;
}

function relations(columns: readonly ColumnProfile[]): string {
  const related = columns.flatMap(({ name, relation }): (LabelRelation & { readonly name: string })[] =>
    relation ? [{ name, ...relation }] : [],
  );
  if (related.length === 0) return '';
  related.sort((one, other) => other.mutualInformation - one.mutualInformation);
  const most = Math.max(...related.map(({ mutualInformation }) => mutualInformation), Number.MIN_VALUE);
  const text = (value: number | null): string => (value === null ? '' : value.toFixed(4));
  const lines = related.map(
    ({ name, auc, correlation, cramersV, mutualInformation }) =>
      `<tr><td>${escaped(name)}</td><td><span class="track" style="display:block;min-width:8rem"><b style="width:${((100 * mutualInformation) / most).toFixed(1)}%"></b></span></td><td>${mutualInformation.toFixed(4)}</td><td>${text(cramersV)}</td><td>${text(auc)}</td><td>${text(correlation)}</td></tr>`,
  );
  return `<h2>Relation to the label</h2><article class="wide"><table><thead><tr><th>feature</th><th></th><th>mutual information (nats)</th><th>Cramér’s V</th><th>AUC</th><th>correlation</th></tr></thead><tbody>${lines.join('')}</tbody></table></article>`;
}

export function profilePage(title: string, { rows, columns }: DataProfile): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escaped(title)}</title><style>${STYLE}</style></head>
<body><main><h1>${escaped(title)}</h1><p>${rows.toLocaleString('en')} rows, ${columns.length} columns</p>${relations(columns)}<h2>Columns</h2><div class="cards">${columns.map((column) => card(column, rows)).join('')}</div></main></body></html>
`;
}
