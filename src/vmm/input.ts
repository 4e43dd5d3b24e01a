/** What a console client's keyboard and pointer do, on its way to the machine's input devices. */

/** Takes input. Calls come on the main thread, from clients that may be hostile: neither may throw. */
export interface InputSink {
  /** A key went down, or up; also down again while it is down, when the client's keyboard repeats. `keycode` is KEY_* of Linux's input-event-codes.h. */
  key(keycode: number, down: boolean): void;
  /**
   * Where the pointer is now: 0 to 32767 from the left and from the top of the screen. `buttons`: bit 0 left, bit 1
   * middle, bit 2 right. `wheel`: steps turned since the call before, away from the user positive.
   */
  pointer(x: number, y: number, buttons: number, wheel: number): void;
}
