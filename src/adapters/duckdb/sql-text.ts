/** A statement's text, so that it can stand in brackets inside another one. */

const QUOTED = /'(?:[^']|'')*'|"(?:[^"]|"")*"|\$([A-Za-z_]*)\$[\s\S]*?\$\1\$/y;
const COMMENT = /--[^\n]*|\/\*[\s\S]*?\*\//y;

const matchAt = (pattern: RegExp, text: string, at: number): number => {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0].length ?? 0;
};

/** Cuts comments and semicolons off the end. Whoever uses the result parses it again, so a mistake here cannot change a meaning. */
export function withoutTail(sql: string): string {
  let end = 0;
  for (let at = 0; at < sql.length; ) {
    const comment = matchAt(COMMENT, sql, at);
    const quoted = comment === 0 ? matchAt(QUOTED, sql, at) : 0;
    if (comment > 0) at += comment;
    else if (quoted > 0) {
      at += quoted;
      end = at;
    } else {
      if (!/[\s;]/.test(sql.charAt(at))) end = at + 1;
      at += 1;
    }
  }
  return sql.slice(0, end);
}

/** The statement as a relation. */
export const relationOf = (sql: string): string => `(\n${withoutTail(sql)}\n)`;
