package run

// Look returns what the process holds now: its memory, its descriptors and the CPU
// time of its whole life. AtS is 0. ok is false if it has ended, or can't be looked at
// here.
func (p *Process) Look() (s Sample, ok bool) {
	user, sys := readCPU(p.pid())
	s.RSSMB, _ = readMemory(p.pid())
	s.FDs, s.CPUS = readFiles(p.pid()), user+sys
	return s, s.RSSMB > 0
}
