/**
 * What the world outside has for a guest of which nothing is known, as a program for its Node (arguments: where it is
 * reached by the harness, as address and port): a DHCP server with one address to give, and a way in for the harness: who
 * connects says "HOST PORT" in a line, hears "ok" once that port has taken the connection, and speaks with it from there.
 */
export const NEIGHBOUR_PROGRAM = `
const dgram = require("node:dgram"), net = require("node:net");
const [address, port, server, guest, mask] = process.argv.slice(1);
const bytes = (text) => text.split(".").map(Number);
const dhcp = dgram.createSocket({ type: "udp4", reuseAddr: true });
dhcp.on("message", (asked) => {
  if (asked.length < 241 || asked[0] !== 1 || asked.readUInt32BE(236) !== 0x63825363) return;
  let type = 0;
  for (let at = 240; at < asked.length && asked[at] !== 255; ) {
    if (asked[at] === 0) { at += 1; continue; }
    if (asked[at] === 53) type = asked[at + 2];
    at += 2 + (asked[at + 1] ?? 0);
  }
  if (type !== 1 && type !== 3) return;
  const answer = Buffer.alloc(300);
  asked.copy(answer, 0, 0, 240);
  answer[0] = 2;
  answer.fill(0, 12, 28);
  Buffer.from(bytes(guest)).copy(answer, 16);
  Buffer.from(bytes(server)).copy(answer, 20);
  answer.fill(0, 44, 236);
  // Offer or acknowledgement, for ever: nobody has to ask again while the VM changes hosts.
  Buffer.from([53, 1, type === 1 ? 2 : 5, 54, 4, ...bytes(server), 51, 4, 255, 255, 255, 255, 1, 4, ...bytes(mask), 3, 4, ...bytes(server), 255]).copy(answer, 240);
  dhcp.send(answer, 68, "255.255.255.255");
});
dhcp.on("error", (error) => { console.error(error.message); process.exit(1); });
dhcp.bind(67, () => dhcp.setBroadcast(true));
net.createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => socket.destroy());
  let head = Buffer.alloc(0);
  const read = (chunk) => {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf(10);
    if (end < 0) return head.length > 100 ? socket.destroy() : undefined;
    socket.off("data", read).pause();
    const [host, to] = head.subarray(0, end).toString().split(" ");
    const inner = net.connect({ host, port: Number(to), noDelay: true, allowHalfOpen: true });
    inner.on("connect", () => { socket.write("ok\\n"); inner.write(head.subarray(end + 1)); socket.pipe(inner).pipe(socket); });
    inner.on("error", () => socket.destroy()).on("close", () => socket.destroySoon());
    socket.on("close", () => inner.destroy());
  };
  socket.on("data", read);
}).listen({ host: address, port: Number(port) }, () => console.log("up"));`;
