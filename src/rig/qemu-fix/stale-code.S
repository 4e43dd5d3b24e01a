/*
 * A multiboot kernel for two CPUs that finds translations of code that is no longer there (qemu-fix.c, 5).
 *
 * CPU 1 calls one function over and over. CPU 0 changes what it returns, first to something that is only there to have the
 * function translated again, then, a varying moment later, to the round's number, and says so; CPU 1 serializes, calls once
 * more and reports what it got. The number of rounds with a wrong answer goes to isa-debug-exit.
 */
.set MULTIBOOT_MAGIC, 0x1badb002
.set ROUNDS, 3000

/* Physical addresses of what the CPUs share, and of the AP's program. */
.set NUMBER_SAID, 0x7004
.set NUMBER_TAKEN, 0x7006
.set ANSWER, 0x7008
.set AP_PROGRAM, 0x8000
.set AP_STACK_END, 0x6000
.set FUNCTION, 0x9000
/* A long row of inc %cx, so that translating takes a while, then mov $number, %ax and ret. */
.set INCREMENTS, 300
.set INC_CX, 0x41
.set MOV_AX_AND_RET, 0xc30000b8
.set FUNCTION_NUMBER, FUNCTION + INCREMENTS + 1
.set OTHER_NUMBER, 0x8000

/* Local APIC: interrupt command register, with "all but self". */
.set ICR_LOW, 0xfee00300
.set ICR_HIGH, 0xfee00310
.set INIT, 0x000c4500
.set STARTUP, 0x000c4600 | AP_PROGRAM >> 12
.set DEBUG_EXIT_PORT, 0xf4

.code32
.section .text
.long MULTIBOOT_MAGIC, 0, -MULTIBOOT_MAGIC
.globl _start
_start:
	cli
	mov $stack_end, %esp
	mov $ap, %esi
	mov $AP_PROGRAM, %edi
	mov $(ap_end - ap), %ecx
	cld
	rep movsb
	mov $FUNCTION, %edi
	mov $INC_CX, %al
	mov $INCREMENTS, %ecx
	rep stosb
	movl $MOV_AX_AND_RET, FUNCTION + INCREMENTS
	movl $0, NUMBER_SAID
	movl $0, ANSWER
	movl $0, ICR_HIGH
	movl $INIT, ICR_LOW
	mov $200000, %ecx
1:	pause
	loop 1b
	movl $STARTUP, ICR_LOW
	xor %esi, %esi
	xor %ebp, %ebp
round:
	inc %esi
	mov %esi, %eax
	or $OTHER_NUMBER, %ax
	mov %ax, FUNCTION_NUMBER
	imul $977, %esi, %ecx
	and $0x3fff, %ecx
	inc %ecx
1:	dec %ecx
	jnz 1b
	mov %si, FUNCTION_NUMBER
	mfence
	mov %si, NUMBER_SAID
1:	pause
	cmp %si, NUMBER_TAKEN
	jne 1b
	cmp %si, ANSWER
	je 2f
	inc %ebp
2:	cmp $ROUNDS, %esi
	jb round
	mov %ebp, %eax
	mov $DEBUG_EXIT_PORT, %dx
	out %eax, %dx
	hlt
.code16
ap:
	cli
	ljmp $0, $(AP_PROGRAM + ap_flat - ap)
ap_flat:
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %ss
	mov $AP_STACK_END, %sp
ap_loop:
	mov $FUNCTION, %di
	call *%di
	mov NUMBER_SAID, %si
	cmp NUMBER_TAKEN, %si
	je ap_loop
	xor %eax, %eax
	cpuid
	mov $FUNCTION, %di
	call *%di
	mov %ax, ANSWER
	mov %si, NUMBER_TAKEN
	jmp ap_loop
ap_end:
.bss
.skip 4096
stack_end:
