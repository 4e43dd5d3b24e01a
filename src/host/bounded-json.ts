/** JSON of strangers: how deep it may be nested is decided before it is parsed. */

/**
 * Throws SyntaxError for nesting beyond `depthMax`: JSON.parse goes down one level of the stack for each. Brackets in
 * strings count as well: at worst a strange text is refused.
 */
export function parseBoundedJson(text: string, depthMax: number): unknown {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === "{" || char === "[") depth++;
    else if (char === "}" || char === "]") depth--;
    if (depth > depthMax) throw new SyntaxError("it is nested too deeply");
  }
  return JSON.parse(text);
}
