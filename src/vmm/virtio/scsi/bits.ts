/** Names and layouts of the SCSI host device: virtio 1.2, 5.6. */
import { bytes, packed, u8, u16, u32 } from "../../../base/layout.ts";

/** Feature bit numbers (5.6.3). */
export const ScsiFeature = { CHANGE: 2 } as const;

/** Indices of queues (5.6.2); there is one request queue. */
export const ScsiQueue = { control: 0, event: 1, request: 2 } as const;

/** struct virtio_scsi_config (5.6.4). */
export const ScsiConfig = packed("virtio_scsi_config", "virtio 1.2, 5.6.4", {
  num_queues: u32,
  seg_max: u32,
  max_sectors: u32,
  cmd_per_lun: u32,
  event_info_size: u32,
  sense_size: u32,
  cdb_size: u32,
  max_channel: u16,
  max_target: u16,
  max_lun: u32,
});

/** The fixed part of the device-readable part of struct virtio_scsi_req_cmd (5.6.6.1): the CDB follows. */
export const ScsiCommand = packed("virtio_scsi_req_cmd", "virtio 1.2, 5.6.6.1", {
  lun: bytes(8),
  id: bytes(8),
  task_attr: u8,
  prio: u8,
  crn: u8,
});

/** The fixed part of what the device writes of it: sense data follow, then data. */
export const ScsiResponse = packed("virtio_scsi_req_cmd response", "virtio 1.2, 5.6.6.1", {
  sense_len: u32,
  residual: u32,
  status_qualifier: u16,
  status: u8,
  response: u8,
});

/** Sizes after reset (5.6.4). */
export const CDB_SIZE = 32;
export const SENSE_SIZE = 96;

/** Values of `response` (5.6.6.1, 5.6.6.2). */
export const ScsiResult = {
  OK: 0,
  OVERRUN: 1,
  BAD_TARGET: 3,
  FUNCTION_REJECTED: 11,
  INCORRECT_LUN: 12,
} as const;

/** Requests of the control queue (5.6.6.2). */
export const ControlType = { TMF: 0, AN_QUERY: 1, AN_SUBSCRIBE: 2 } as const;
export const TaskFunction = { I_T_NEXUS_RESET: 4, LOGICAL_UNIT_RESET: 5, QUERY_TASK_SET: 7 } as const;
export const TaskRequest = packed("virtio_scsi_ctrl_tmf", "virtio 1.2, 5.6.6.2", {
  type: u32,
  subtype: u32,
  lun: bytes(8),
  id: bytes(8),
});
export const NotificationRequest = packed("virtio_scsi_ctrl_an", "virtio 1.2, 5.6.6.2", {
  type: u32,
  lun: bytes(8),
  event_requested: u32,
});
export const NotificationResponse = packed("virtio_scsi_ctrl_an response", "virtio 1.2, 5.6.6.2", {
  event_actual: u32,
  response: u8,
});

/** struct virtio_scsi_event (5.6.6.3). */
export const ScsiEvent = packed("virtio_scsi_event", "virtio 1.2, 5.6.6.3", {
  event: u32,
  lun: bytes(8),
  reason: u32,
});
export const EVENT_PARAM_CHANGE = 3;

/** First byte of an address of the form target and LUN, and the flat addressing bits of the LUN (5.6.6.1). */
export const LUN_TARGET_FORM = 1;
export const LUN_FLAT = 0x40;
