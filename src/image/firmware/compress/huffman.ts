/** Canonical Huffman codes of a limited length. */

/**
 * How many bits each symbol gets, by how often it occurs; 0 for those that do not. Two or more must occur. The same
 * frequencies give the same lengths.
 */
export function codeLengths(frequencies: Uint32Array, bitsMax: number): Uint8Array {
  let weights = Float64Array.from(frequencies);
  for (;;) {
    const lengths = unlimitedLengths(weights);
    if (lengths.every((length) => length <= bitsMax)) return lengths;
    // Flatter frequencies make a flatter tree; at worst all are alike.
    weights = weights.map((weight) => (weight === 0 ? 0 : Math.ceil(weight / 2)));
  }
}

interface Node {
  readonly weight: number;
  readonly symbol: number;
  readonly left?: Node;
  readonly right?: Node;
}

/** Two queues, leaves by weight and joined nodes in the order of their making, are both sorted: no heap is needed. */
function unlimitedLengths(weights: Float64Array): Uint8Array {
  const leaves: Node[] = [];
  for (const [symbol, weight] of weights.entries()) if (weight > 0) leaves.push({ weight, symbol });
  leaves.sort((a, b) => a.weight - b.weight || a.symbol - b.symbol);
  const joined: Node[] = [];
  let nextLeaf = 0;
  let nextJoined = 0;
  const least = (): Node => {
    const leaf = leaves[nextLeaf];
    const node = joined[nextJoined];
    if (node === undefined || (leaf !== undefined && leaf.weight <= node.weight)) {
      nextLeaf++;
      return leaf as Node;
    }
    nextJoined++;
    return node;
  };
  for (let joins = leaves.length - 1; joins > 0; joins--) {
    const left = least();
    const right = least();
    joined.push({ weight: left.weight + right.weight, symbol: -1, left, right });
  }
  const lengths = new Uint8Array(weights.length);
  const open: [Node, number][] = [[joined.at(-1) as Node, 0]];
  for (let entry = open.pop(); entry !== undefined; entry = open.pop()) {
    const [node, depth] = entry;
    if (node.left === undefined || node.right === undefined) lengths[node.symbol] = depth;
    else open.push([node.left, depth + 1], [node.right, depth + 1]);
  }
  return lengths;
}

/** The codes of these lengths: shorter ones first, then in the order of symbols. */
export function codesOf(lengths: Uint8Array): Uint16Array {
  const codes = new Uint16Array(lengths.length);
  let code = 0;
  const longest = Math.max(...lengths);
  for (let bits = 1; bits <= longest; bits++) {
    for (const [symbol, length] of lengths.entries()) if (length === bits) codes[symbol] = code++;
    code <<= 1;
  }
  return codes;
}
