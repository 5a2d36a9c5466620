// Package mqtt turns bytes into MQTT packets and packets into bytes, for MQTT 3.1.1 and MQTT 5 (OASIS standards of
// 2014-10-29 and 2019-03-07). Nothing but packets: no sockets, sessions, clocks or policy.
//
// It promises that a packet a [Reader] returns is well formed: every length, flag, string, property and reason code is
// one that the standard allows in that packet of that version, so that a broker need only ask whether it is
// allowed now. What is refused is refused with an [Error] that carries the reason code to answer with and, where
// there is one, the number of the normative statement. What a packet's AppendTo writes, a Reader of the same version
// reads back unchanged; a packet that breaks the standard is refused instead of written.
//
// It trusts nobody: bytes come from devices that may be hostile. Memory for one packet grows with the bytes that
// arrived, not with the length they claim, up to [Limits]. Whoever can write to the connection can at most make the
// Reader return an error. Whoever holds a PUBLISH or an acknowledgement beyond the next ReadPacket reads another packet's bytes:
// these alias the Reader's buffer, copy what must last. Passwords and authentication data do not print.
//
// Numbers such as MQTT-3.3.1-4 are those of the MQTT 5 standard, given for both versions where both have the rule.
package mqtt
