//go:build !linux

package tune

import "errors"

func raiseLoopback() error { return errors.ErrUnsupported }
