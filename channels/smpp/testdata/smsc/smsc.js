// An SMS centre on npm's smpp. It writes one line of JSON for each thing that
// happens, and takes one line of JSON for each thing it should do.
"use strict";
const smpp = require("smpp");

const tell = (what) => process.stdout.write(JSON.stringify(what) + "\n");
let session = null;
let ids = 0;
const refusals = { "4915100000058": ["ESME_RTHROTTLED"], "4915100000014": ["ESME_RMSGQFUL"], "4915100000008": ["ESME_RSYSERR"], "4915100000011": ["ESME_RINVDSTADR"] };

const server = smpp.createServer((s) => {
  s.on("error", () => {}); // a reset when the test ends
  s.on("bind_transceiver", (pdu) => {
    if (pdu.password !== "hush-8x") {
      s.send(pdu.response({ command_status: smpp.ESME_RINVPASWD }));
      s.close();
      return;
    }
    s.send(pdu.response({ system_id: "foreign" }));
    session = s;
    tell({ event: "bound", system_id: pdu.system_id, version: pdu.interface_version });
  });
  s.on("submit_sm", (pdu) => {
    const refuse = (refusals[pdu.destination_addr] || []).shift();
    if (refuse) {
      s.send(pdu.response({ command_status: smpp[refuse] }));
      return;
    }
    const id = "id-" + ++ids;
    s.send(pdu.response({ message_id: id }));
    const message = pdu.message_payload || pdu.short_message;
    tell({
      event: "submit", id, from: pdu.source_addr, from_ton: pdu.source_addr_ton, to: pdu.destination_addr, to_ton: pdu.dest_addr_ton,
      coding: pdu.data_coding, text: message.message, udh: message.udh ? message.udh.map((b) => b.toString("hex")) : [], report: pdu.registered_delivery,
    });
    if (pdu.registered_delivery & 1) {
      deliver(s, {
        esm_class: smpp.ESM_CLASS.MC_DELIVERY_RECEIPT, source_addr: pdu.destination_addr, source_addr_ton: 1,
        short_message: `id:${id} sub:001 dlvrd:001 submit date:2611210503 done date:2611210504 stat:DELIVRD err:000 text:`,
      }, "receipt");
    }
  });
  s.on("enquire_link", (pdu) => { s.send(pdu.response()); tell({ event: "enquire_link" }); });
  s.on("unbind", (pdu) => { s.send(pdu.response()); tell({ event: "unbind" }); s.close(); });
});

// deliver sends a deliver_sm until it is acknowledged.
function deliver(s, fields, event) {
  s.deliver_sm(fields, (answer) => {
    tell({ event, status: answer.command_status });
    if (answer.command_status !== 0) setTimeout(() => deliver(s, fields, event), 20);
  });
}

server.listen(0, "127.0.0.1", () => tell({ event: "listening", port: server.address().port }));

let line = "";
process.stdin.on("data", (data) => {
  line += data;
  for (let end; (end = line.indexOf("\n")) >= 0; line = line.slice(end + 1)) {
    const order = JSON.parse(line.slice(0, end));
    switch (order.do) {
      case "say":
        deliver(session, { source_addr: order.from, source_addr_ton: 1, destination_addr: "STATUS", short_message: order.text, data_coding: order.coding }, "said");
        break;
      case "enquire":
        session.enquire_link((answer) => tell({ event: "alive", status: answer.command_status }));
        break;
      case "unbind":
        session.unbind((answer) => { tell({ event: "unbound", status: answer.command_status }); session.close(); });
        break;
      case "cut":
        session.destroy();
    }
  }
});
process.stdin.on("end", () => process.exit(0)); // the test has ended, in whatever way
