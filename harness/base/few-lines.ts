/**
 * Passes lines on: the first `most` as they are, and of those behind them ever fewer, each with how many were left out. A
 * file that nobody empties stays small, however often something goes wrong, and its end still says what does.
 */
export function fewLines(say: (line: string) => void, most: number): (line: string) => void {
  let said = 0;
  let next = most;
  return (line) => {
    said += 1;
    if (said <= most) return say(line);
    if (said < 2 * next) return;
    say(`(${said - next - 1} lines left out) ${line}`);
    next = said;
  };
}
