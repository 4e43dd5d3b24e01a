/** What is used once, before the guest runs: the configuration, CPUs, tables, a kernel without firmware. */
export { buildLoaderFiles, LOADER_FILE, RSDP_FILE, TABLES_FILE } from "../acpi/loader.ts";
export { buildAcpiTables, directBootConfig } from "../acpi/tables.ts";
export { loadKernel } from "../boot/load.ts";
export { CONFIG_SIZE_MAX, parseConfig } from "../config-file.ts";
export { guestCpuid, physicalAddressBits } from "../cpu/cpuid.ts";
export { modelCpuid } from "../cpu/model.ts";
export { FIRMWARE_MSRS, RESET_MSRS } from "../cpu/msrs.ts";
export { buildSmbios, placeSmbios } from "../firmware/smbios.ts";
