package tune

import (
	"encoding/binary"
	"fmt"
	"syscall"
)

// raiseLoopback sets the interface lo up, which is down in a new network namespace. It
// asks the kernel as rtnetlink(7) has it: RTM_NEWLINK with IFF_UP, and an answer.
func raiseLoopback() error {
	const (
		loopback = 1 // its index in every namespace
		size     = syscall.SizeofNlMsghdr + syscall.SizeofIfInfomsg
	)
	socket, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer syscall.Close(socket)
	native := binary.NativeEndian
	b := native.AppendUint32(make([]byte, 0, size), size)
	b = native.AppendUint16(b, syscall.RTM_NEWLINK)
	b = native.AppendUint16(b, syscall.NLM_F_REQUEST|syscall.NLM_F_ACK)
	b = native.AppendUint32(b, 1) // sequence
	b = native.AppendUint32(b, 0) // the kernel fills in who asks
	b = native.AppendUint32(b, 0) // family and type: any
	b = native.AppendUint32(b, loopback)
	b = native.AppendUint32(b, syscall.IFF_UP)
	b = native.AppendUint32(b, syscall.IFF_UP) // what changes
	if err := syscall.Sendto(socket, b, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	reply := make([]byte, syscall.Getpagesize())
	n, _, err := syscall.Recvfrom(socket, reply, 0)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(reply[:n])
	if err != nil || len(messages) == 0 || messages[0].Header.Type != syscall.NLMSG_ERROR || len(messages[0].Data) < 4 {
		return fmt.Errorf("netlink: no answer that makes sense (%v)", err)
	}
	if code := int32(native.Uint32(messages[0].Data)); code != 0 {
		return fmt.Errorf("set lo up: %w", syscall.Errno(-code))
	}
	return nil
}
