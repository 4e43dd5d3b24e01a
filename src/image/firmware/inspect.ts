/** A firmware image as text, one line per node. */
import { assembleFile, assembleVolume, freeBytes } from "./assemble.ts";
import { FILE_TYPE_PAD, fileTypeNames, sectionTypeNames } from "./format.ts";
import { type FirmwareImage, moduleName, type Section } from "./tree.ts";
import { visitImage } from "./walk.ts";

function sectionBytes(section: Section): string {
  switch (section.kind) {
    case "leaf":
      return `${section.data.length} bytes`;
    case "volume-section":
      return `${section.volume.sizeBytes} bytes`;
    case "lzma":
      return section.compressed === undefined
        ? "LZMA, not packed yet"
        : `LZMA, ${section.compressed.length} bytes packed`;
  }
}

/** The tree; sections are left out unless `withSections` or they hold further nodes. */
export function inspectImage(image: FirmwareImage, withSections = false): string {
  const lines: string[] = [];
  const put = (depth: number, text: string): void => {
    lines.push("  ".repeat(depth) + text);
  };
  visitImage(image, {
    volume(volume, depth) {
      const used = volume.files.length === 0 ? "no files" : `${freeBytes(volume)} free`;
      put(depth, `volume ${volume.fileSystem}, ${assembleVolume(volume).length} bytes, ${used}`);
    },
    file(file, _volume, depth) {
      const type = fileTypeNames[file.type] ?? `type 0x${file.type.toString(16)}`;
      const size = `${assembleFile(file).length} bytes`;
      if (file.type === FILE_TYPE_PAD) put(depth, `pad, ${size}`);
      else put(depth, `${file.name} ${type}, ${size}${named(moduleName(file))}`);
    },
    section(section, _file, depth) {
      if (section.kind === "leaf" && !withSections) return;
      const type = sectionTypeNames[section.type] ?? `type 0x${section.type.toString(16)}`;
      put(depth, `section ${type}, ${sectionBytes(section)}`);
    },
  });
  return `${lines.join("\n")}\n`;
}

function named(name: string | undefined): string {
  return name === undefined ? "" : ` ${name}`;
}
