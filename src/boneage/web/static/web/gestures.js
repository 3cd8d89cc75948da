// Wheel, mouse and fingers on a pane.

import { clamp } from "./camera.js";

/**
 * Call back on gestures; positions are CSS pixels of the element.
 * @param {HTMLElement} element
 * @param {object} on - zoom(factor, at), pan(dx, dy), level(dx, dy), double(at), and drag(kind, at, isTouch) with kind
 *   start, move, end or hover. `drag` returns true if it has used the gesture up.
 */
export function listenToGestures(element, on) {
  const fingers = new Map();
  const at = (event) => {
    const box = element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const isTouch = (event) => event.pointerType === "touch";

  element.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    const speed = event.ctrlKey ? 0.01 : 0.0016; // fingers on a trackpad come as a wheel with the control key
    on.zoom(Math.exp(-clamp(event.deltaY * lines, -300, 300) * speed), at(event));
  }, { passive: false });

  element.addEventListener("pointerdown", (event) => {
    if (event.button === 1 || fingers.size > 1) return;
    element.focus({ preventScroll: true });
    element.setPointerCapture(event.pointerId);
    const isLevel = event.button === 2 || event.shiftKey;
    const isUsed = !isLevel && fingers.size === 0 && on.drag("start", at(event), isTouch(event));
    fingers.set(event.pointerId, { at: at(event), isLevel, isUsed });
  });

  element.addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId), now = at(event);
    if (!finger) {
      on.drag("hover", now, isTouch(event));
      return;
    }
    const others = [...fingers].filter(([id]) => id !== event.pointerId).map(([, one]) => one.at);
    const before = finger.at;
    finger.at = now;
    if (others.length) pinch(before, now, others[0]);
    else if (finger.isLevel) on.level(now[0] - before[0], now[1] - before[1]);
    else if (finger.isUsed) on.drag("move", now, isTouch(event));
    else on.pan(now[0] - before[0], now[1] - before[1]);
  });

  function pinch(before, now, other) {
    const far = (one) => Math.max(1, Math.hypot(one[0] - other[0], one[1] - other[1]));
    const middle = (one) => [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
    const [from, to] = [middle(before), middle(now)];
    on.pan(to[0] - from[0], to[1] - from[1]);
    on.zoom(far(now) / far(before), to);
  }

  for (const name of ["pointerup", "pointercancel"]) {
    element.addEventListener(name, (event) => {
      if (fingers.get(event.pointerId)?.isUsed) on.drag("end", at(event), isTouch(event));
      fingers.delete(event.pointerId);
    });
  }
  element.addEventListener("pointerleave", () => on.drag("leave", [0, 0], false));
  element.addEventListener("contextmenu", (event) => event.preventDefault());
  element.addEventListener("dblclick", (event) => on.double(at(event)));
}
