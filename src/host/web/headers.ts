/** The part of the web-standard `Headers` (Fetch standard, 5.1) that a server and its router use. */

type HeadersInput = Iterable<readonly string[]> | Readonly<Record<string, string>> | undefined | null;

export class WebHeaders {
  /** By lower-case name. */
  readonly #values = new Map<string, string>();

  constructor(init?: HeadersInput) {
    if (init === undefined || init === null) return;
    const pairs = Symbol.iterator in init ? init : Object.entries(init);
    for (const [name, value] of pairs as Iterable<[string, string]>) this.append(name, value);
  }

  get(name: string): string | null {
    return this.#values.get(name.toLowerCase()) ?? null;
  }

  has(name: string): boolean {
    return this.#values.has(name.toLowerCase());
  }

  /** Throws TypeError when the value could end a header line. */
  set(name: string, value: string): void {
    const text = String(value).trim();
    if (/[\0\r\n]/.test(text)) throw new TypeError(`the header field ${name} holds a line end`);
    this.#values.set(name.toLowerCase(), text);
  }

  append(name: string, value: string): void {
    const present = this.get(name);
    this.set(name, present === null ? value : `${present}, ${value}`);
  }

  delete(name: string): void {
    this.#values.delete(name.toLowerCase());
  }

  forEach(callback: (value: string, name: string) => void): void {
    for (const [name, value] of this) callback(value, name);
  }

  entries(): IterableIterator<[string, string]> {
    return this.#values.entries();
  }

  [Symbol.iterator](): IterableIterator<[string, string]> {
    return this.#values.entries();
  }
}
