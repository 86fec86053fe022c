package incident

import "testing"

// BenchmarkDeliveryID names a delivery, as every send does.
func BenchmarkDeliveryID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		DeliveryID("default", "INC-8892", 2, "123456")
	}
}
