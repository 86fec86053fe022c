//go:build !linux

package doctor

func kernelClock() (Clock, error) { return Clock{}, errNotLinux }

func disk(string) (Disk, error) { return Disk{}, errNotLinux }
