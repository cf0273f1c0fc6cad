const two = (n: number) => String(n).padStart(2, "0");

/** 1:02:03, or 2:03 when the whole is under an hour. */
export function clock(us: number, wholeUs = us): string {
  const seconds = Math.floor(us / 1_000_000);
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return wholeUs >= 3_600_000_000 || h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** 2 min 5 s */
export function span(us: number): string {
  const seconds = Math.round(us / 1_000_000);
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const parts = [h && `${h} h`, m && `${m} min`, (s || seconds === 0) && `${s} s`];
  return parts.filter(Boolean).join(" ");
}

/** 2026-11-21 07:12:34 in the viewer's time zone. */
export function wall(us: number): string {
  const d = new Date(us / 1000);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** The viewer's time zone, as UTC+1. */
export function zone(us: number): string {
  const minutes = -new Date(us / 1000).getTimezoneOffset();
  const [h, m] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  return minutes === 0 ? "UTC" : `UTC${minutes < 0 ? "−" : "+"}${h}${m ? `:${two(m)}` : ""}`;
}

/** 12.3 MB */
export function size(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${bytes < 10 && unit > 0 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}
